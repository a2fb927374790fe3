"""Reading a server's or a job's log: its end for a message, what was added for a watcher."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["NewLines", "log_tail"]

_TAIL_BYTES = 256 * 1024
_LINE_CHARS = 2000
_READ_BYTES = 4 * 1024 * 1024


def log_tail(path: Path, lines: int = 40) -> list[str]:
    """The last `lines` that are not blank, made printable; none if there is no log.

    Of a huge log only the end is read, and of a huge line only the beginning is given.
    """
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            found = log.read(_TAIL_BYTES).splitlines()
    except OSError:
        return []
    return [_printable(line) for line in found if line.strip()][-lines:]


class NewLines:
    """Gives each whole line of a growing log once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = b""

    def read(self) -> list[str]:
        """The lines completed since the last call; an unfinished one waits for its end."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._at)
                added = log.read(_READ_BYTES)
        except FileNotFoundError:
            return []
        self._at += len(added)
        *whole, self._rest = (self._rest + added).split(b"\n")
        self._rest = self._rest[-_READ_BYTES:]
        return [_printable(line) for line in whole]


def _printable(line: bytes) -> str:
    text = line[: 4 * _LINE_CHARS].decode("utf-8", errors="replace")[:_LINE_CHARS]
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
