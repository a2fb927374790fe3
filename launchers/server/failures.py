"""Why a server could not be had or kept: classes of failure, and how a log tells them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

from launchers.server.logs import log_tail

__all__ = ["FailureClass", "ServerError", "classify", "classify_log", "report"]

_CLASSIFIED_LINES = 400  # of the log's end: tracebacks of eight ranks stand there one after another


class FailureClass(StrEnum):
    """The `class` of a record that is not ok because of its server."""

    CRASH = "crash"  # it ended or said that it is ending, for none of the reasons below
    HANG = "hang"  # its own watchdog fired
    OOM = "oom"
    PORT = "port"
    STOP = "stop"  # it could not be stopped
    TIMEOUT = "timeout"  # not ready by the deadline
    USAGE = "usage"  # it refused its arguments


# First match wins. Texts as torch, uvicorn, argparse and SGLang 0.5.23 write them.
_SIGNS: tuple[tuple[FailureClass, re.Pattern[str]], ...] = (
    (
        FailureClass.OOM,
        re.compile(
            r"out of memory|OutOfMemoryError|Not enough memory|Cannot allocate memory"
            r"|No available memory for the cache|MemoryError\b"
        ),
    ),
    (
        FailureClass.PORT,
        re.compile(
            r"(?i)address already in use|port is already in use|port\S* at \d+ is not avail"
        ),
    ),
    (
        FailureClass.USAGE,
        re.compile(r"error: (unrecognized arguments|argument |ambiguous option|the following arg)"),
    ),
    (FailureClass.HANG, re.compile(r"(?i)watchdog timeout")),
)


class ServerError(RuntimeError):
    """A server that could not be started, kept or stopped; `failure_class` says of what kind."""

    def __init__(self, message: str, failure_class: FailureClass) -> None:
        super().__init__(message)
        self.failure_class = failure_class


def classify(lines: Iterable[str], otherwise: FailureClass) -> FailureClass:
    """The class that a log's lines tell, in the table's order."""
    text = "\n".join(lines)
    return next((found for found, sign in _SIGNS if sign.search(text)), otherwise)


def classify_log(log: Path, otherwise: FailureClass) -> FailureClass:
    """The class that the end of `log` tells."""
    return classify(log_tail(log, _CLASSIFIED_LINES), otherwise)


def report(what: str, argv: Sequence[str], log: Path) -> str:
    """A message with the command and the log's last 40 lines."""
    tail = log_tail(log)
    shown = [f"  | {line}" for line in tail] if tail else ["  (the log is empty)"]
    return "\n".join([what, f"command: {shlex.join(argv)}", f"end of {log}:", *shown])
