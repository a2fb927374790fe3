"""Copies kernels, runtime calls and graph nodes of an nsys export, and what nsys says it lost.

An export also holds the environment variables of the profiled process and facts about the host; of
the strings only those that the copied rows name are kept.
"""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path

_TABLES = (
    "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_MEMCPY",
    "CUPTI_ACTIVITY_KIND_MEMSET", "CUDA_GRAPH_NODE_EVENTS", "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
    "META_DATA_EXPORT",
)  # fmt: skip
_NAMES = ("nameId", "shortName", "demangledName", "mangledName")


def main() -> None:
    """Write the second file from the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    print(trim(options.source, options.target))


def trim(source: Path, target: Path) -> dict[str, int]:
    """Rows by table that were copied.

    Raises:
        FileExistsError: The target is there already.
        sqlite3.DatabaseError: The source is no SQLite file.
    """
    if target.exists():
        raise FileExistsError(f"{target}: is there already; name another file")
    counts: dict[str, int] = {}
    with closing(sqlite3.connect(target, isolation_level=None)) as base:
        base.execute("ATTACH DATABASE ? AS source", (str(source),))
        found = {row[0] for row in base.execute("SELECT name FROM source.sqlite_master")}
        wanted = []
        for table in (name for name in _TABLES if name in found):
            base.execute(f"CREATE TABLE {table} AS SELECT * FROM source.{table}")  # noqa: S608
            columns = {row[1] for row in base.execute(f"PRAGMA table_info({table})")}
            wanted += [
                f"SELECT {column} FROM {table}"  # noqa: S608 - names from this file
                for column in _NAMES
                if column in columns
            ]
            counts[table] = base.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        if "DIAGNOSTIC_EVENT" in found:
            base.execute(
                "CREATE TABLE DIAGNOSTIC_EVENT AS SELECT text FROM source.DIAGNOSTIC_EVENT "
                "WHERE text LIKE '%drop%' OR text LIKE '%lost%'"
            )
        if wanted and "StringIds" in found:
            base.execute(
                "CREATE TABLE StringIds AS SELECT * FROM source.StringIds WHERE id IN "  # noqa: S608
                f"({' UNION '.join(wanted)})"
            )
            counts["StringIds"] = base.execute("SELECT count(*) FROM StringIds").fetchone()[0]
    return counts


if __name__ == "__main__":
    main()
