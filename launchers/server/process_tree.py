"""All processes that stem from one leader, found and ended, wherever they moved in the meantime."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

from launchers.server.failures import FailureClass, ServerError

__all__ = ["StillRunning", "Tree"]

_POLL_S = 0.02
_KILL_WAIT_S = 20.0  # a rank with a GPU context can take seconds to be torn down after KILL


class StillRunning(ServerError):
    """Processes that KILL did not end in time; the next launch would meet them."""


@dataclass(frozen=True, slots=True)
class _Seen:
    process: psutil.Process
    parent: int
    session: int


class Tree:
    """A session leader, its session, and every descendant ever seen, in the session or not."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self._known: set[psutil.Process] = set()

    def alive(self) -> list[psutil.Process]:
        """The members that run now; they are remembered.

        A child that left the session and is then orphaned can only be known from an earlier look,
        so whoever holds a server looks from time to time.
        """
        seen = list(_scan())
        below = {self.leader, *(known.pid for known in self._known if _runs(known))}
        grew = True
        while grew:
            more = {s.process.pid for s in seen if s.parent in below or s.session == self.leader}
            grew = not more <= below
            below |= more
        self._known |= {s.process for s in seen if s.process.pid in below}
        return [member for member in self._known if _runs(member)]

    def end(self, timeout_s: float) -> bool:
        """TERM to all, KILL to those left after `timeout_s`; True if KILL was needed.

        A Ctrl-C while it waits goes straight to KILL, and is raised when nothing is left.

        Raises:
            StillRunning: some survived KILL for 20 seconds.
        """
        interrupt: KeyboardInterrupt | None = None
        try:
            self._signal(signal.SIGTERM)
            left = self._wait(timeout_s)
        except KeyboardInterrupt as pressed:
            interrupt, left = pressed, self.alive()
        killed = bool(left)
        if left:
            left = self._kill()
        if left:
            raise StillRunning(
                f"still running {_KILL_WAIT_S:.0f} s after SIGKILL: {_described(left)};"
                " see to them before starting anything else",
                FailureClass.STOP,
            )
        if interrupt is not None:
            raise interrupt
        return killed

    def _kill(self) -> list[psutil.Process]:
        deadline = time.monotonic() + _KILL_WAIT_S
        while True:  # again, for what was forked between looking and signalling
            self._signal(signal.SIGKILL)
            left = self._wait(4 * _POLL_S)
            if not left or time.monotonic() >= deadline:
                return left

    def _wait(self, timeout_s: float) -> list[psutil.Process]:
        deadline = time.monotonic() + timeout_s
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return left

    def _signal(self, number: signal.Signals) -> None:
        # While a live member has this group, the kernel gives its number to nobody else.
        in_group: list[psutil.Process] = []
        others: list[psutil.Process] = []
        for member in self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                grouped = os.getpgid(member.pid) == self.leader
                (in_group if grouped else others).append(member)
        if in_group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader, number)
        for member in others:
            with contextlib.suppress(psutil.Error):
                member.send_signal(number)


def _scan() -> Iterator[_Seen]:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            process = psutil.Process(pid)
            yield _Seen(process, process.ppid(), os.getsid(pid))


def _runs(process: psutil.Process) -> bool:
    # A zombie has released all it held; whether it is reaped is its parent's affair.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _described(processes: Iterable[psutil.Process]) -> str:
    names = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            names.append(f"{process.pid} ({process.name()}, {process.status()})")
    return ", ".join(names)
