"""Columns of a large SQLite table as arrays: Arrow's driver, since Python's makes a tuple a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evals.comm_kernels.table import Ints

__all__ = ["integer_columns"]

_BATCH = 65_536  # rows; the driver's default of 1,024 spends its time between batches


def integer_columns(path: Path, table: str, expressions: Sequence[str]) -> list[Ints]:
    """Each expression over all rows of the table in order of rowid, as 64-bit integers; no NULLs.

    Args:
        path: The database; it is only read.
        table: Name of the table.
        expressions: SQL expressions that are integers for every row.

    Raises:
        ValueError: An expression was NULL or no integer somewhere.
        OSError: The database cannot be read.
    """
    import adbc_driver_manager  # with pyarrow a third of a second: only readers of nsys pay it
    import adbc_driver_sqlite.dbapi as adbc

    uri = f"{path.resolve().as_uri()}?mode=ro"
    chosen = ", ".join(expressions)
    try:
        with adbc.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours
            row = cursor.fetchone()
            assert row is not None
            columns = [np.empty(row[0], dtype=np.int64) for _ in expressions]
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": _BATCH})
            cursor.execute(f"SELECT {chosen} FROM {table}")  # noqa: S608
            at = 0
            for batch in cursor.fetch_record_batch():
                for column, values in zip(columns, batch.columns, strict=True):
                    column[at : at + len(values)] = values.to_numpy(zero_copy_only=True)
                at += batch.num_rows
    except adbc_driver_manager.Error as error:
        raise OSError(f"{path}: {error}") from error
    return columns
