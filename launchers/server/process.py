"""A process of ours has its own session and a log, and takes what it started with it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from launchers.server.logs import log_tail
from launchers.server.process_tree import StillRunning, Tree

__all__ = [
    "Finished",
    "Process",
    "StillRunning",
    "Stopped",
    "log_tail",
    "run_to_end",
    "start",
    "stop_orphan",
]

_POLL_S = 0.02
_CREATE_TIME_TOLERANCE_S = 1.0  # psutil derives it from the boot time, which clock changes move

# Runs between fork and the real program, so that a servegate ended by SIGKILL leaves no server:
# PR_SET_PDEATHSIG (1) survives exec, and the pid and the command line become the program's own.
# Python ignores SIGPIPE and SIGXFSZ, and exec would hand that on.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("servegate ended while this process was starting")
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[3:])
"""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """How a process ended: a negative `returncode` is a signal; `killed` if TERM wasn't enough."""

    returncode: int
    killed: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a job ended; when `timed_out`, the return code is that of our stopping it."""

    returncode: int
    timed_out: bool
    seconds: float


class Process:
    """A started process and the tree below it; made by `start`, ended by `stop`.

    `create_time` (seconds since the epoch) with `pid` and `argv` is what `stop_orphan` asks for.
    """

    def __init__(self, popen: subprocess.Popen[bytes], argv: Sequence[str], log: Path) -> None:
        self.argv = tuple(argv)
        self.log = log
        self.pid = popen.pid
        self.create_time = psutil.Process(popen.pid).create_time()
        self._popen = popen
        self._tree = Tree(popen.pid)
        self._stopped: Stopped | None = None

    def poll(self) -> int | None:
        """The exit status (negative for a signal), or None while it runs.

        It only looks: until `stop` reaps it, the kernel gives its number to nobody else.
        """
        if self._stopped is not None:
            return self._stopped.returncode
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def note_tree(self) -> list[int]:
        """The ids of the processes alive now, remembered so that `stop` finds one that leaves."""
        return [member.pid for member in self._tree.alive()]

    def stop(self, timeout_s: float) -> Stopped:
        """TERM to the whole tree, KILL to what is left after `timeout_s`, and reap; idempotent.

        Raises:
            StillRunning: some of the tree survived even KILL.
            KeyboardInterrupt: Ctrl-C while waiting; the tree is gone all the same.
        """
        if self._stopped is not None:
            return self._stopped
        began = time.monotonic()
        try:
            killed = self._tree.end(timeout_s)
        except KeyboardInterrupt:
            self._reap(began, killed=True)
            raise
        return self._reap(began, killed=killed)

    def _reap(self, began: float, *, killed: bool) -> Stopped:
        seconds = time.monotonic() - began
        stopped = Stopped(returncode=self._popen.wait(), killed=killed, seconds=seconds)
        self._stopped = stopped
        return stopped


def start(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Process:
    """Start `argv` in its own session, with `env` as its complete environment.

    stdin is /dev/null; stdout and stderr go to `log`, which must not exist. If called from the main
    thread, the process is killed when we die (Linux ties that to the thread that forked it).

    Raises:
        FileNotFoundError: there is no such program on `env`'s PATH.
        FileExistsError: `log` exists; a log is never overwritten.
    """
    path = env.get("PATH", os.defpath)
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise FileNotFoundError(f"{argv[0]}: no such program on PATH={path}: {shlex.join(argv)}")
    program = str(Path(program).absolute())
    command = list(argv)
    if threading.current_thread() is threading.main_thread():
        guard = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        command = [*guard, program, *argv]
        program = sys.executable
    try:
        output = log.open("xb")
    except FileExistsError:
        raise FileExistsError(
            f"{log}: exists already and a log is never overwritten; give each process its own"
        ) from None
    with output:
        popen = subprocess.Popen(
            command,
            executable=program,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(popen, argv, log)


def run_to_end(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    deadline_s: float,
    on_tick: Callable[[], None],
    tick_s: float = 0.5,
    stop_timeout_s: float = 5.0,
) -> Finished:
    """Run a job until it ends or `deadline_s` is over, calling `on_tick` every `tick_s`.

    Whatever `on_tick` raises (say, that the server died), and Ctrl-C, stops the job and goes on up.
    """
    began = time.monotonic()
    process = start(argv, env=env, log=log)
    timed_out = False
    next_tick = began + tick_s
    try:
        while process.poll() is None and not timed_out:
            time.sleep(_POLL_S)
            now = time.monotonic()
            timed_out = now - began >= deadline_s and process.poll() is None
            if now >= next_tick:
                next_tick = now + tick_s
                on_tick()
        seconds = time.monotonic() - began
    finally:
        stopped = process.stop(stop_timeout_s)
    return Finished(returncode=stopped.returncode, timed_out=timed_out, seconds=seconds)


def stop_orphan(pid: int, create_time: float, argv: Sequence[str], timeout_s: float = 10.0) -> bool:
    """Stop a process that an earlier servegate left; False if that process is gone.

    Only if pid, start time and command line are all those of what we started; a process that
    merely has the same number is never touched.

    Raises:
        StillRunning: it survived even KILL.
    """
    try:
        leader = psutil.Process(pid)
        began, command = leader.create_time(), leader.cmdline()
    except psutil.NoSuchProcess:
        return False
    # A script with a #! line has its interpreter in front, and its path in full.
    same_command = command == list(argv) or command[-len(argv) + 1 :] == list(argv[1:])
    if not same_command or abs(began - create_time) > _CREATE_TIME_TOLERANCE_S:
        return False
    Tree(pid).end(timeout_s)
    return True
