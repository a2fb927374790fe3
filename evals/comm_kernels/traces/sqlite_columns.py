"""Columns of a large SQLite table as arrays: Arrow's driver, since Python's makes a tuple a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.traces.table import Ints, threads

__all__ = ["Query", "read_columns"]

# Rows a batch. Buffers of more than 128 KiB are mapped anew for every batch, which costs more than
# the reading; the driver's default of 1,024 rows spends its time between batches.
_BATCH = 8_192
_LEAST = 50_000  # rows below which another thread costs more than it saves
_LEAST_BYTES = 16  # of a row in the file; a table with fewer has holes in its rowids


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to read, and what to make of it.

    Attributes:
        table: A table that has rowids.
        expressions: SQL expressions that are 64-bit integers for every row.
        unpack: Fills the wanted columns of a batch, its second argument, from those of the
            expressions; several small numbers travel faster as one.
        dtypes: Of the wanted columns.
    """

    table: str
    expressions: Sequence[str]
    unpack: Callable[[Sequence[Ints], Sequence[npt.NDArray[Any]]], None]
    dtypes: Sequence[npt.DTypeLike]


def read_columns(path: Path, query: Query) -> list[npt.NDArray[Any]]:
    """The wanted columns over all rows, in order of rowid.

    Every thread reads a range of rowids through a connection of its own.

    Args:
        path: The database; it is only read.
        query: What to read.

    Raises:
        ValueError: An expression was NULL somewhere, or no integer.
        OSError: The database cannot be read.
        sqlite3.Error: Likewise.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    low, rows, dense = _extent(uri, path, query.table)
    parts = max(1, min(threads(), rows // _LEAST)) if dense else 1
    limits = [rows * part // parts for part in range(parts + 1)]
    columns = [np.empty(rows, dtype=dtype) for dtype in query.dtypes]

    def fill(limit: tuple[int, int]) -> int:
        first, behind = limit
        where = f"WHERE rowid >= {low + first} AND rowid < {low + behind}" if dense else ""
        return _fill(uri, query, where, [column[first:behind] for column in columns])

    with ThreadPoolExecutor(parts) as pool:
        filled = list(pool.map(fill, pairwise(limits)))
    if sum(filled) == rows:
        return columns
    kept = [slice(first, first + count) for first, count in zip(limits, filled, strict=False)]
    return [np.concatenate([column[part] for part in kept]) for column in columns]


def _extent(uri: str, path: Path, table: str) -> tuple[int, int, bool]:
    """First rowid, how many rows there can be, and whether rowids have few holes."""
    with closing(sqlite3.connect(uri, uri=True)) as database:
        # Asked for together, SQLite would read the whole table for them.
        low, high = (
            database.execute(f"SELECT {which}(rowid) FROM {table}").fetchone()[0]  # noqa: S608
            for which in ("min", "max")
        )
        if low is None:
            return 0, 0, True
        if (high - low + 1) * _LEAST_BYTES <= path.stat().st_size:
            return low, high - low + 1, True
        counted = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        return low, counted, False


def _fill(uri: str, query: Query, where: str, into: Sequence[npt.NDArray[Any]]) -> int:
    """Fills arrays from their begin; returns how many rows there were."""
    import adbc_driver_manager  # with pyarrow a third of a second: only readers of nsys pay it
    import adbc_driver_sqlite.dbapi as adbc

    text = f"SELECT {', '.join(query.expressions)} FROM {query.table} {where}"  # noqa: S608
    at = 0
    try:
        with adbc.connect(uri) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": _BATCH})
            cursor.execute(text)
            for batch in cursor.fetch_record_batch():
                arrays = [values.to_numpy(zero_copy_only=True) for values in batch.columns]
                for array in arrays:
                    if array.dtype != np.int64:
                        raise ValueError(f"{array.dtype} where an integer belongs")
                behind = at + batch.num_rows
                query.unpack(arrays, [column[at:behind] for column in into])
                at = behind
    except adbc_driver_manager.Error as error:
        raise OSError(str(error)) from error
    return at
