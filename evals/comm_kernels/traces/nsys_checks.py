"""Each way in which a report of Nsight Systems can be useless or wrong, and what to do about it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from evals.comm_kernels.traces.spans import NAMED_STEPS
from evals.comm_kernels.traces.table import TraceError

__all__ = ["EXPORT", "KERNELS", "check", "cut_off", "tables_of"]

EXPORT = "nsys export --type sqlite --lazy=false --output FILE.sqlite FILE.nsys-rep"
KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"

_GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
_NEEDED = (
    "start",
    "end",
    "deviceId",
    "streamId",
    "correlationId",
    "globalPid",
    "demangledName",
    "graphNodeId",
)
_LOST = re.compile(r"\bdropp?ed\b|\blost\b", re.IGNORECASE)
# What was in flight at `nsys stop` (2025.3 on an H100: 247 kernels of 319,505, all of the ranks'
# last replays), as it is in everybody's captures that end while the server decodes.
_CUT_OFF = re.compile(r"^Number of incomplete CUPTI events dropped: (\d+)", re.IGNORECASE)


def tables_of(database: sqlite3.Connection) -> frozenset[str]:
    """Names of all tables; nsys makes only those that it has rows for."""
    found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return frozenset(row[0] for row in found)


def check(
    path: Path, database: sqlite3.Connection, tables: frozenset[str], *, named: bool = False
) -> None:
    """Raises TraceError for each way in which a report of nsys can be useless or wrong.

    Args:
        path: The export, for messages.
        database: The same, open.
        tables: Names of its tables.
        named: It has ranges of the engine, which tell steps without CUDA graphs, too.
    """
    if "StringIds" not in tables:
        raise TraceError(f"{path}: is no SQLite export of Nsight Systems; make one with: {EXPORT}")
    for text in _diagnostics(database, tables):
        if _LOST.search(text) and not _CUT_OFF.match(text):
            raise TraceError(f"{path}: events were lost ({text}); trace fewer steps at a time")
    graphs = _GRAPHS in tables and _some(database, f"SELECT 1 FROM {_GRAPHS} LIMIT 1")  # noqa: S608
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({KERNELS})")}
    nodes = "graphNodeId" in columns and _some(
        database,
        f"SELECT 1 FROM {KERNELS} WHERE graphNodeId LIMIT 1",  # noqa: S608
    )
    if graphs and not nodes:
        raise TraceError(
            f"{path}: was traced with --cuda-graph-trace=graph, which shows graphs as wholes and "
            "no kernel in them; give nsys launch --cuda-graph-trace=node"
        )
    if not columns or not _some(database, f"SELECT 1 FROM {KERNELS} LIMIT 1"):  # noqa: S608
        raise TraceError(
            f"{path}: holds no kernel; nothing ran while nsys collected, or the server's processes "
            "were not followed (nsys launch --trace=cuda --trace-fork-before-exec=true)"
        )
    missing = [name for name in _NEEDED if name not in columns and name != "graphNodeId"]
    if missing:
        raise TraceError(
            f"{path}: table {KERNELS} has no column {', '.join(missing)}; this schema is not "
            "known, export again with a current nsys"
        )
    if not (nodes or named):
        raise TraceError(
            f"{path}: holds kernels, but none of a CUDA graph, so that no step can be told; serve "
            f"with CUDA graphs, or {NAMED_STEPS}"
        )


def cut_off(database: sqlite3.Connection, tables: frozenset[str]) -> int:
    """Events that nsys says were in flight when it stopped. The last steps may lack so many."""
    found = (_CUT_OFF.match(text) for text in _diagnostics(database, tables))
    return sum(int(match[1]) for match in found if match)


def _some(database: sqlite3.Connection, query: str) -> bool:
    return database.execute(query).fetchone() is not None


def _diagnostics(database: sqlite3.Connection, tables: frozenset[str]) -> Iterator[str]:
    if "DIAGNOSTIC_EVENT" in tables:
        for (text,) in database.execute("SELECT text FROM DIAGNOSTIC_EVENT"):
            yield str(text)
