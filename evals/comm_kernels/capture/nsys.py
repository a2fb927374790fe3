"""Drives Nsight Systems through a session around what a running server does meanwhile.

The server is started under ``nsys launch``, which collects nothing yet; ``start`` and ``stop``
frame what is collected. The session stays until the server has ended: ``shutdown --kill=none``
leaves the server alone but ends ``nsys launch`` above it (seen with 2025.3), which is the process
that is watched for as long as the server serves. Switches by sub-command as in NVIDIA Nsight
Systems' User Guide, 2026.2: what is traced goes to ``launch``, what is sampled to ``start``. A
``start`` for a session that nobody knows makes one and ends well (tried with 2025.3), so the
session is asked for first. Each way in which a report can fail to be one has a class and a message
of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

__all__ = [
    "CaptureFailed",
    "NsysSession",
    "end_session",
    "launch_prefix",
    "session_in",
    "session_of",
]

_SESSION = "servegate-{}"
_NEW = "--session-new="
_ASK_S = 60.0  # a sub-command that only talks to the session
_END_S = 15.0  # the same when all is over, maybe after Ctrl-C
_IMPORT_S = 900.0  # stop and export turn events into a report, which takes minutes
_LEAST_FREE = 4 * 1024**3  # bytes; a report of some seconds has some hundred megabytes
_POLL_S = 0.5

# What nsys says, and what it means; the words of 2025.3 where a sub-command is named.
_KNOWN = (
    (r"no space left", "disk", "the disk is full"),
    (
        r"perf_event_paranoid",
        "permission",
        "the kernel forbids sampling (perf_event_paranoid), which servegate does not ask for",
    ),
    (
        r"^start .*configuring is not allowed in this state",
        "busy",
        "somebody else collects in this session",
    ),
    (
        r"^stop .*collection stop is not allowed in this state",
        "not-collecting",
        "nothing was being collected any more; somebody else stopped it, or the server ended",
    ),
    (
        r"(?:no such|unknown|invalid) session|session\b.{0,60}(?:not found|does not exist)",
        "no-session",
        "the session is gone: the server ended, or was not started under nsys launch",
    ),
)


class CaptureFailed(RuntimeError):
    """Why there is no report: class and reason."""

    def __init__(self, failure_class: str, reason: str) -> None:
        super().__init__(reason)
        self.failure_class = failure_class


def launch_prefix() -> list[str]:
    """What goes before the server's command; ``{port}`` stands for the server's port."""
    return [
        "nsys",
        "launch",
        f"{_NEW}{_SESSION.format('{port}')}",
        "--trace=cuda",
        "--cuda-graph-trace=node",
        "--trace-fork-before-exec=true",
    ]


def end_session(name: str, nsys: str = "nsys") -> str | None:
    """End what is left of a session whose server has been stopped; most ends by itself.

    Returns:
        Why it may still be there; None: it is gone.
    """
    if shutil.which(nsys) is None:
        return None
    session = NsysSession(name, Path(), nsys, ask_s=_END_S)
    try:
        if name in session.known():
            try:
                session.end()
            except CaptureFailed:
                if name in session.known():  # else it went by itself meanwhile
                    raise
    except (CaptureFailed, OSError) as error:
        return f"the session {name} of nsys may still be there: {error}"
    return None


def session_of(base_url: str) -> str:
    """Name of the session of the server at this address."""
    return _SESSION.format(urlsplit(base_url).port)


def session_in(argv: Sequence[str]) -> str | None:
    """Name of the session that a command was started under; None: under none."""
    names = (word.removeprefix(_NEW) for word in argv if word.startswith(_NEW))
    return next(names, None)


class NsysSession:
    """One capture through the session that a server runs under."""

    def __init__(self, name: str, folder: Path, nsys: str = "nsys", ask_s: float = _ASK_S) -> None:
        """A capture that is yet to begin.

        Args:
            name: Of the session.
            folder: Where the report goes; exists.
            nsys: The program.
            ask_s: Longest wait for an answer of its, in seconds.
        """
        self.name = name
        self.report = folder / "decode.nsys-rep"
        self.export = folder / "decode.sqlite"
        self._nsys = nsys
        self._ask_s = ask_s

    def await_session(self, timeout_s: float) -> None:
        """Wait until nsys knows the session.

        Raises:
            CaptureFailed: It does not in time, or there is no nsys, or too little disk.
        """
        if shutil.which(self._nsys) is None:
            raise CaptureFailed("no-nsys", f"{self._nsys} is not on PATH; use capture: torch")
        free = shutil.disk_usage(self.report.parent).free
        if free < _LEAST_FREE:
            raise CaptureFailed(
                "disk",
                f"{self.report.parent} has {free / 1e9:.1f} GB left; a report may need "
                f"{_LEAST_FREE / 1e9:.1f} GB",
            )
        deadline = time.monotonic() + timeout_s
        while self.name not in (known := self.known()):
            if time.monotonic() > deadline:
                listed = ", ".join(known) if known else "none"
                raise CaptureFailed(
                    "no-session",
                    f"nsys knows no session {self.name} (it knows {listed}); the server must be "
                    "started under nsys launch, which the plan shows",
                )
            time.sleep(_POLL_S)

    def collect(self, until: Callable[[], object]) -> None:
        """Collect while ``until`` runs, and leave the report behind.

        Raises:
            CaptureFailed: There is no report.
        """
        self._run(
            [
                "start",
                f"--session={self.name}",
                "--sample=none",
                "--cpuctxsw=none",
                "--backtrace=none",
                f"--output={self.report}",
                "--force-overwrite=true",
            ],
            _ASK_S,
        )
        stop = ["stop", f"--session={self.name}"]
        try:
            until()
        except BaseException as error:
            # Without a stop nsys goes on until the disk is full; why it came to that matters more.
            try:
                self._run(stop, _IMPORT_S)
            except CaptureFailed as also:
                error.add_note(str(also))
            raise
        self._run(stop, _IMPORT_S)
        self._check_report()

    def end(self) -> None:
        """End the session, and ``nsys launch`` with it; a server that still runs is left alone.

        Raises:
            CaptureFailed: nsys would not.
        """
        self._run(["shutdown", f"--session={self.name}", "--kill=none"], self._ask_s)

    def exported(self) -> Path:
        """The report as SQLite.

        Raises:
            CaptureFailed: nsys did not make it, also where it says that it did.
        """
        self._run(
            [
                "export",
                "--type=sqlite",
                "--lazy=false",
                "--force-overwrite=true",
                f"--output={self.export}",
                str(self.report),
            ],
            _IMPORT_S,
        )
        if not self.export.is_file() or self.export.stat().st_size == 0:
            raise CaptureFailed(
                "no-export", f"nsys export ended well and left no {self.export.name}"
            )
        return self.export

    def _check_report(self) -> None:
        if self.report.is_file() and self.report.stat().st_size > 0:
            return
        raw = sorted(self.report.parent.glob("*.qdstrm"))
        if raw:
            raise CaptureFailed(
                "no-importer",
                f"nsys left {raw[0].name} and no report: its importer is missing or failed; "
                "install the whole of Nsight Systems on this machine",
            )
        raise CaptureFailed(
            "no-report",
            f"nsys stop ended well and left no {self.report.name}; nothing was collected",
        )

    def known(self) -> list[str]:
        """Names of the sessions that nsys knows.

        Raises:
            CaptureFailed: It does not say.
        """
        # A table of ID, TIME, STATE, LAUNCH and NAME; 2025.3 has no other form of it.
        text = self._run(["sessions", "list"], self._ask_s)
        return [line.split()[-1] for line in text.splitlines()[1:] if line.strip()]

    def _run(self, arguments: Sequence[str], timeout_s: float) -> str:
        command = f"nsys {arguments[0]}"
        try:
            done = subprocess.run(
                [self._nsys, *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise CaptureFailed(
                "hangs", f"{command} did not end within {timeout_s:g} s; its session may be broken"
            ) from error
        if done.returncode == 0:
            return done.stdout
        said = " ".join((done.stderr + " " + done.stdout).split())
        for pattern, failure, meaning in _KNOWN:
            if re.search(pattern, f"{arguments[0]} {said}", re.IGNORECASE):
                raise CaptureFailed(failure, f"{command}: {meaning}. It said: {said[:300]}")
        raise CaptureFailed(
            "nsys", f"{command} ended with exit code {done.returncode}: {said[:300]}"
        )
