"""What goes wrong with a request, and from when on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from launchers.fake_engine.settings import (
    CrashAfter,
    EmptyOutput,
    Fault,
    Hang,
    Http500Every,
    LogSchedulerException,
    ZeroTokens,
)

__all__ = ["Effect", "Faults"]

_TRACEBACK = """Traceback (most recent call last):
  File "scheduler.py", line 1, in event_loop
RuntimeError: the fake engine was told to fail"""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a request meets: an HTTP 500, an empty output, or neither."""

    fails: bool = False
    output: Literal["as told", "empty", "zero"] = "as told"


class Faults:
    """The faults of one server; knows how many requests have begun and which faults have."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._waiting = [
            fault
            for fault in faults
            if isinstance(
                fault,
                CrashAfter | Hang | LogSchedulerException | EmptyOutput | ZeroTokens | Http500Every,
            )
        ]
        self._begun: list[Fault] = []
        self._requests = 0
        self.hanging = False

    def arm(self) -> None:
        """The server is ready: count seconds from here."""
        loop = asyncio.get_running_loop()
        for fault in list(self._waiting):
            if fault.at_s is not None:
                self._waiting.remove(fault)
                loop.call_later(fault.at_s, self._begin, fault)

    def meet(self, *, probe: bool) -> Effect:
        """Count a request and say what happens to it; may end the process."""
        if probe:
            return Effect()
        for fault in list(self._waiting):
            if fault.at_s is None and self._requests >= fault.after_requests:
                self._waiting.remove(fault)
                self._begin(fault)
        self._requests += 1
        effect = Effect()
        for begun in self._begun:
            if isinstance(begun, Http500Every):
                nth = self._requests - begun.after_requests
                effect = replace(effect, fails=effect.fails or nth % begun.every == 0)
            elif isinstance(begun, EmptyOutput):
                effect = replace(effect, output="empty")
            elif isinstance(begun, ZeroTokens):
                effect = replace(effect, output="zero")
        return effect

    async def stall(self) -> None:
        """Return at once, or never: when the server hangs."""
        if self.hanging:
            await asyncio.get_running_loop().create_future()

    def _begin(self, fault: Fault) -> None:
        if isinstance(fault, CrashAfter):
            _crash(fault.exit_code)
        if isinstance(fault, LogSchedulerException):
            print(f"[TP0] Scheduler hit an exception: {_TRACEBACK}", flush=True)
        self.hanging |= isinstance(fault, Hang | LogSchedulerException)
        self._begun.append(fault)


def _crash(code: int) -> NoReturn:
    print(_TRACEBACK, flush=True)
    os._exit(code)  # as a crash: nothing is finished, no connection is closed in order
