"""The text in a file, whatever kind of file it is."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

__all__ = ["texts"]


def texts(path: Path) -> Iterator[str]:
    """Everything that can be read in a file: its name too; gzip is unpacked, of SQLite each string.

    Raises:
        OSError: It cannot be read.
        sqlite3.DatabaseError: It ends in .sqlite and is none.
    """
    yield path.name
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            tables = [row[0] for row in base.execute("SELECT name FROM sqlite_master")]
            for table in tables:
                for row in base.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - its own names
                    yield from (value for value in row if isinstance(value, str))
        return
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    yield content.decode("utf-8", errors="replace")
