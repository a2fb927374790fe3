"""What an export of Nsight Systems has of the host: NVTX ranges of the engine, and launches."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from evals.comm_kernels.traces.rows import NONE
from evals.comm_kernels.traces.spans import Span, is_step
from evals.comm_kernels.traces.table import Ints

__all__ = ["CALLS", "Calls", "calls_of", "spans_of"]

CALLS = "CUPTI_ACTIVITY_KIND_RUNTIME"
_RANGES = "NVTX_EVENTS"


@dataclass(frozen=True, kw_only=True)
class Calls:
    """When one process called CUDA, in order of correlation; both are [n]."""

    correlation: Ints
    start: Ints

    def of(self, correlations: Ints) -> Ints:
        """The call's time for each correlation, or NONE."""
        if not len(self.correlation):
            return np.full(len(correlations), NONE)
        place = np.searchsorted(self.correlation, correlations)
        place = np.minimum(place, len(self.correlation) - 1)
        return np.where(self.correlation[place] == correlations, self.start[place], NONE)


def calls_of(database: sqlite3.Connection, process: int) -> Calls:
    """The calls of one process."""
    query = (
        f"SELECT correlationId, start FROM {CALLS} "  # noqa: S608
        "WHERE globalTid >> 24 & 4194303 = ? AND correlationId IS NOT NULL"
    )
    rows = np.array(database.execute(query, (process,)).fetchall(), dtype=np.int64).reshape(-1, 2)
    keys = rows[:, 0].astype(np.int32)  # as the kernels have them
    order = np.argsort(keys, kind="stable")
    return Calls(correlation=keys[order], start=rows[order, 1])


def spans_of(database: sqlite3.Connection, tables: frozenset[str]) -> dict[int, list[Span]]:
    """The ranges by process that tell an engine's steps; empty where calls were not traced."""
    if _RANGES not in tables or CALLS not in tables:
        return {}
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({_RANGES})")}
    if not {"start", "end", "text", "globalTid"} <= columns:
        return {}
    # Newer exports keep texts in a table of their own (nsys-exporter's manual, NVTX_EVENTS).
    text = "coalesce(text, value)" if "textId" in columns else "text"
    joined = "LEFT JOIN StringIds ON id = textId" if "textId" in columns else ""
    query = (
        f'SELECT globalTid >> 24 & 4194303, start, "end", {text} FROM {_RANGES} {joined} '  # noqa: S608
        'WHERE "end" IS NOT NULL'
    )
    found: dict[int, list[Span]] = defaultdict(list)
    for process, begin, end, name in database.execute(query):
        if isinstance(name, str) and is_step(name):
            found[process].append(Span(begin, end, name))
    return dict(found)
