"""Driving nsys: the right commands in the right order, and a message for each way to fail.

The nsys here is a script that keeps what it was told and fails where a test wants it to.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evals.comm_kernels.capture import client
from evals.comm_kernels.capture import nsys as nsys_capture
from evals.comm_kernels.capture.nsys import (
    CaptureFailed,
    NsysSession,
    end_session,
    launch_prefix,
    session_in,
    session_of,
)
from evals.comm_kernels.settings import CommKernelsSettings

_SCRIPT = """#!{python}
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
want = json.loads((here / "want.json").read_text())
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
verb = sys.argv[1]
told = want.get(verb, {{}})
time.sleep(told.get("sleep", 0))
sys.stdout.write(told.get("out", ""))
sys.stderr.write(told.get("err", ""))
options = dict(a.lstrip("-").split("=", 1) for a in sys.argv[2:] if "=" in a)
if verb == "start":
    (here / "output").write_text(options["output"])
report = pathlib.Path((here / "output").read_text()) if (here / "output").exists() else None
if verb == "stop" and report and told.get("leaves", "report") == "report":
    report.write_bytes(b"report")
if verb == "stop" and report and told.get("leaves") == "raw":
    report.with_suffix(".qdstrm").write_bytes(b"raw")
if verb == "export" and told.get("leaves", "export") == "export":
    pathlib.Path(options["output"]).write_bytes(b"SQLite format 3" + bytes(1))
if "then" in told:
    (here / "want.json").write_text(json.dumps(told["then"]))
sys.exit(told.get("code", 0))
"""

# As 2025.3 prints it.
HEADER = "              ID         TIME                     STATE LAUNCH NAME\n"
LISTED = HEADER + "           10457        00:06                  Launched      1 servegate-3000\n"


class FakeNsys:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.program = folder / "nsys"
        self.program.write_text(_SCRIPT.format(python=sys.executable), encoding="utf-8")
        self.program.chmod(0o755)
        self.wants()

    def wants(self, **verbs: dict[str, object]) -> None:
        wanted = {"sessions": {"out": LISTED}} | verbs
        (self.folder / "want.json").write_text(json.dumps(wanted), encoding="utf-8")

    def calls(self) -> list[list[str]]:
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def nsys(tmp_path: Path) -> FakeNsys:
    return FakeNsys(tmp_path / "bin")


@pytest.fixture
def session(nsys: FakeNsys, tmp_path: Path) -> NsysSession:
    (tmp_path / "traces").mkdir()
    return NsysSession("servegate-3000", tmp_path / "traces", str(nsys.program))


def whole(session: NsysSession, until: Callable[[], object] = lambda: None) -> Path:
    session.await_session(0.0)
    session.collect(until)
    return session.exported()


def test_start_stop_export(nsys: FakeNsys, session: NsysSession) -> None:
    seen: list[int] = []
    export = whole(session, lambda: seen.append(len(nsys.calls())))
    assert export.name == "decode.sqlite"
    # No shutdown: it would end nsys launch, and with it what servegate takes for the server.
    assert [call[0] for call in nsys.calls()] == ["sessions", "start", "stop", "export"]
    assert seen == [2]  # between start and stop
    for call in nsys.calls()[1:3]:
        assert "--session=servegate-3000" in call
    assert {"--type=sqlite", "--lazy=false"} <= set(nsys.calls()[3])


def test_the_server_is_started_under_the_session_of_its_port() -> None:
    prefix = launch_prefix()
    assert prefix[:2] == ["nsys", "launch"]
    assert "--cuda-graph-trace=node" in prefix
    assert "--trace-fork-before-exec=true" in prefix
    argv = [word.replace("{port}", "3000") for word in prefix]
    assert session_in(argv) == session_of("http://127.0.0.1:3000") == "servegate-3000"
    assert session_in(["python", "-m", "sglang.launch_server"]) is None


@pytest.mark.parametrize(
    ("wants", "failure", "said"),
    [
        ({"sessions": {"out": HEADER}}, "no-session", "no session servegate-3000 .it knows none"),
        (
            {"sessions": {"out": LISTED.replace("servegate-3000", "other")}},
            "no-session",
            "it knows other",
        ),
        ({"sessions": {"code": 1, "err": "boom"}}, "nsys", "nsys sessions ended with exit code 1"),
        (
            {"start": {"code": 1, "err": "session servegate-3000 not found"}},
            "no-session",
            "nsys start: the session is gone",
        ),
        (
            {"start": {"code": 1, "err": "Configuring is not allowed in this state."}},
            "busy",
            "somebody else collects",
        ),
        (
            {"stop": {"code": 1, "err": "Collection stop is not allowed in this state."}},
            "not-collecting",
            "nothing was being collected any more",
        ),
        (
            {"start": {"code": 1, "err": "check /proc/sys/kernel/perf_event_paranoid"}},
            "permission",
            "perf_event_paranoid",
        ),
        ({"stop": {"code": 1, "err": "write: No space left on device"}}, "disk", "disk is full"),
        ({"stop": {"leaves": "nothing"}}, "no-report", "left no decode.nsys-rep"),
        ({"stop": {"leaves": "raw"}}, "no-importer", "decode.qdstrm and no report: its importer"),
        ({"export": {"leaves": "nothing"}}, "no-export", "ended well and left no decode.sqlite"),
    ],
)
def test_each_failure_has_its_own_message(
    wants: dict[str, dict[str, object]],
    failure: str,
    said: str,
    nsys: FakeNsys,
    session: NsysSession,
) -> None:
    nsys.wants(**wants)
    with pytest.raises(CaptureFailed, match=said) as error:
        whole(session)
    assert error.value.failure_class == failure


def test_what_fails_while_it_collects_still_stops_it(nsys: FakeNsys, session: NsysSession) -> None:
    def fail() -> None:
        raise ValueError("no token came")

    with pytest.raises(ValueError, match="no token came"):
        session.collect(fail)
    assert [call[0] for call in nsys.calls()] == ["start", "stop"]


def test_a_stop_that_fails_hides_nothing(nsys: FakeNsys, session: NsysSession) -> None:
    def fail() -> None:
        raise ValueError("HTTP 500: out of memory")

    nsys.wants(stop={"code": 1, "err": "Collection stop is not allowed in this state."})
    with pytest.raises(ValueError, match="out of memory") as error:
        session.collect(fail)
    assert ["nothing was being collected" in note for note in error.value.__notes__] == [True]


def test_a_stop_that_hangs(
    nsys: FakeNsys, session: NsysSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsys_capture, "_IMPORT_S", 0.5)
    nsys.wants(stop={"sleep": 30})
    with pytest.raises(CaptureFailed, match=r"nsys stop did not end within 0.5 s"):
        session.collect(lambda: None)


def test_no_nsys_and_no_room(
    session: NsysSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CaptureFailed, match="nothing is not on PATH; use capture: torch"):
        NsysSession("x", tmp_path, "nothing").await_session(0.0)
    monkeypatch.setattr(nsys_capture, "_LEAST_FREE", 1 << 62)
    with pytest.raises(CaptureFailed, match="GB left; a report may need"):
        session.await_session(0.0)


def test_a_session_that_ended_with_its_server_needs_no_end(nsys: FakeNsys) -> None:
    nsys.wants(sessions={"out": HEADER})
    assert end_session("servegate-3000", str(nsys.program)) is None
    assert [call[0] for call in nsys.calls()] == ["sessions"]


def test_a_session_that_is_left_is_ended(nsys: FakeNsys) -> None:
    assert end_session("servegate-3000", str(nsys.program)) is None
    assert nsys.calls()[1] == ["shutdown", "--session=servegate-3000", "--kill=none"]


def test_a_session_that_goes_while_it_is_ended_is_gone(nsys: FakeNsys) -> None:
    nsys.wants(
        shutdown={"code": 1, "err": "no such session", "then": {"sessions": {"out": HEADER}}}
    )
    assert end_session("servegate-3000", str(nsys.program)) is None


def test_without_nsys_there_is_no_session() -> None:
    assert end_session("servegate-3000", "nothing") is None


def test_a_session_that_does_not_end_is_told(nsys: FakeNsys) -> None:
    nsys.wants(shutdown={"code": 9})
    told = end_session("servegate-3000", str(nsys.program))
    assert told is not None
    assert "servegate-3000 of nsys may still be there: nsys shutdown ended with exit code 9" in told


def test_what_is_collected_begins_and_ends_with_the_full_batch_decoding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Recorder:
        def __init__(self, name: str, folder: Path) -> None:
            assert (name, folder) == ("servegate-3000", tmp_path / "traces")

        def await_session(self, _timeout_s: float) -> None:
            seen.append("session")

        def collect(self, until: Callable[[], object]) -> None:
            seen.append("start")
            until()
            seen.append("stop")

        def exported(self) -> None:
            seen.append("export")

    class Steps:
        def wait_steps(self, wanted: int) -> None:
            seen.append(f"{wanted} steps")

        def end(self) -> None:
            seen.append("end")

    @contextmanager
    def decoding(_url: str, _settings: object) -> Iterator[Steps]:
        seen.append("decoding")
        yield Steps()

    monkeypatch.setattr(client, "NsysSession", Recorder)
    monkeypatch.setattr(client, "decoding", decoding)
    monkeypatch.setattr(client, "_get", lambda _url: {"tp_size": 2, "device": "cuda"})
    monkeypatch.setattr(time, "sleep", lambda seconds: seen.append(f"idle {seconds:g}"))
    settings = CommKernelsSettings(
        kind="comm-kernels", capture="nsys", concurrency=2, layers=1, deadline_s=60
    )
    given = ["--base-url", "http://127.0.0.1:3000", "--out", str(tmp_path)]
    assert client.main([*given, "--settings", settings.model_dump_json()]) == 0
    assert seen == [
        "session", "decoding", "start", "14 steps", "end", "idle 3", "stop", "export",
    ]  # fmt: skip
