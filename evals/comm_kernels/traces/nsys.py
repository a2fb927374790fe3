"""Reads SQLite exports of Nsight Systems that traced the kernels of CUDA graphs one by one."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.families import family_of
from evals.comm_kernels.traces.nsys_checks import KERNELS, check, cut_off, tables_of
from evals.comm_kernels.traces.nsys_host import CALLS, Calls, calls_of, spans_of
from evals.comm_kernels.traces.rows import NONE, BareRows, stepped
from evals.comm_kernels.traces.spans import Span
from evals.comm_kernels.traces.sqlite_columns import Query, read_columns
from evals.comm_kernels.traces.table import (
    UNKNOWN_RANK,
    Ints,
    Origin,
    RankKernels,
    TraceError,
    threads,
)

__all__ = ["read_nsys"]

_RANK = re.compile(r"-TP-(\d+)|\brank[-_]?(\d+)")
_MOST_IDS = 10_000_000
_IN_FLIGHT = 2
_SPARSE = 997  # every so many rows are looked at for the processes that there are


def _unpack(columns: Sequence[Ints], into: Sequence[npt.NDArray[Any]]) -> None:
    starts, ends, stream_names, owner_replays = columns
    start, end, owner, stream, name, replay = into
    start[:] = starts
    end[:] = ends
    np.right_shift(owner_replays, 32, out=owner, casting="unsafe")
    np.right_shift(stream_names, 32, out=stream, casting="unsafe")
    # The lower half as it lies in memory (little-endian), which costs less than a mask.
    name[:] = stream_names.view(np.int32)[::2]
    replay[:] = owner_replays.view(np.int32)[::2]


def _query(replay: str) -> Query:
    """Kernels with what tells their replay, as an expression."""
    return Query(
        table=KERNELS,
        expressions=(
            "start",
            '"end"',
            "(streamId << 32) | demangledName",
            # A globalPid is vm, pid and thread, the last two of 24 bits (nsys-exporter's manual); a
            # pid of Linux has 22. Correlations have 32 bits; as signed numbers, NONE is the last.
            f"((globalPid >> 24 & 4194303) << 40) + (deviceId << 32) + ({replay} & 4294967295)",
        ),
        unpack=_unpack,
        dtypes=(np.int64, np.int64, np.int32, np.int32, np.int32, np.int32),
    )


# The column is among the last, and SQLite has to pass over all others of every row to get there.
_BY_NODE = f"CASE WHEN graphNodeId THEN correlationId ELSE {NONE} END"


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The small tables: names by id, GPUs by pid and device, graphs' launches and spans by pid."""

    names: Mapping[int, str]
    gpus: Mapping[tuple[int, int], int]
    launches: Mapping[int, Ints]
    spans: Mapping[int, Sequence[Span]]

    @property
    def calls(self) -> bool:
        """Whether calls tell which kernels are of a graph; eager steps have calls of no graph."""
        return bool(self.launches or self.spans)


def read_nsys(path: Path) -> list[RankKernels]:
    """The decode steps of every rank in one export.

    A rank is a process on a device; ranks are numbered in the order of their GPUs, or, where the
    file's name has a rank and holds one, by that name. Steps are told by NVTX ranges of the engine,
    where there are some; else by replays of CUDA graphs, whose kernels share the correlation of
    their cudaGraphLaunch within a process (Nsight Systems' schema, CUPTI_ACTIVITY_KIND_KERNEL).

    Raises:
        TraceError: It cannot be read, lost events, or holds no kernels of CUDA graphs.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = tables_of(database)
            spans = spans_of(database, tables)
            check(path, database, tables, named=bool(spans))
            lacking = cut_off(database, tables)
            facts = _Facts(
                names=_names(database),
                gpus=_gpus(database, tables),
                launches=_launches(database, tables),
                spans=spans,
            )
        columns = read_columns(path, _query("correlationId" if facts.calls else _BY_NODE))
    except TraceError:
        raise
    except (sqlite3.Error, OSError, ValueError) as error:
        raise TraceError(f"{path}: is no SQLite export of Nsight Systems: {error}") from error
    ranks = _ranks(columns, facts, path)
    # A rank has at most a step that runs and one that waits for it.
    most = _IN_FLIGHT * sum(int(rank.signature.max()) for rank in ranks)
    if lacking > most:
        raise TraceError(
            f"{path}: events were lost ({lacking} incomplete ones, more than the {most} that may "
            "have been in flight at its end); trace fewer steps at a time"
        )
    return _numbered(path, ranks)


def _ranks(columns: Sequence[Ints], facts: _Facts, path: Path) -> list[RankKernels]:
    """One entry for each process and device with kernels of steps, in the order of GPUs."""
    start, end, owned, stream, names_of, replay = columns

    def calls(process: int) -> Calls:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return calls_of(database, process)

    def rank_of(owner: int, at: Ints) -> RankKernels | None:
        begun = start[at]
        if begun.min() < 0:  # what nsys could not place in time
            at = at[begun >= 0]
        mine, keys, process = replay[at], replay[at], owner >> 8
        if facts.calls:
            of_graphs = facts.launches.get(process, np.empty(0, dtype=np.int32))
            mine = np.where(np.isin(mine, of_graphs), mine, NONE)
        spans = facts.spans.get(process, ())
        if not (spans or np.any(mine != NONE)):
            return None
        used, name = _used(names_of[at])
        names = tuple(facts.names.get(index, f"string {index}") for index in used)
        eager = np.array([family_of(one) is not None for one in names])[name] & (mine == NONE)
        launched = None
        if facts.calls and (spans or eager.any()):
            launched = calls(process).of(keys)
        rows = BareRows(
            start=start[at],
            end=end[at],
            stream=stream[at],
            name=name,
            replay=mine,
            names=names,
            launched=launched,
        )
        return stepped(rows, Origin(rank=UNKNOWN_RANK, source=path, device="gpu"), spans)

    def place(found: tuple[int, Ints]) -> tuple[int, int]:
        owner = found[0]
        device = owner & 0xFF
        return facts.gpus.get((owner >> 8, device), device), owner

    owners = sorted(_owners(owned), key=place)
    with ThreadPoolExecutor(threads()) as pool:
        ranks = pool.map(lambda found: rank_of(*found), owners)
        return [rank for rank in ranks if rank is not None]


def _owners(owned: Ints) -> list[tuple[int, Ints]]:
    """The different values and the rows of each; there are few values and millions of rows."""
    values = np.unique(owned[::_SPARSE])
    with ThreadPoolExecutor(threads()) as pool:
        rows = list(pool.map(lambda value: np.flatnonzero(owned == value), values))
    if sum(map(len, rows)) < len(owned):
        values = np.unique(owned)
        rows = [np.flatnonzero(owned == value) for value in values]
    return list(zip(values.tolist(), rows, strict=True))


def _used(ids: Ints) -> tuple[Sequence[int], Ints]:
    """The ids that occur, and for each row its place among them."""
    if not len(ids) or ids.max() > _MOST_IDS:
        used, name = np.unique(ids, return_inverse=True)
        return used.tolist(), name
    counts = np.bincount(ids)
    used = np.flatnonzero(counts)
    place = np.zeros(len(counts), dtype=np.int64)
    place[used] = np.arange(len(used))
    return used.tolist(), place[ids]


def _numbered(path: Path, ranks: Sequence[RankKernels]) -> list[RankKernels]:
    if len(ranks) == 1:
        match = _RANK.search(path.name)
        number = UNKNOWN_RANK if match is None else int(match[1] or match[2])
        return [ranks[0].renumbered(number)]
    return [rank.renumbered(number) for number, rank in enumerate(ranks)]


def _names(database: sqlite3.Connection) -> dict[int, str]:
    return {
        int(key): str(value) for key, value in database.execute("SELECT id, value FROM StringIds")
    }


def _gpus(database: sqlite3.Connection, tables: frozenset[str]) -> dict[tuple[int, int], int]:
    """The GPU of each process and device: with CUDA_VISIBLE_DEVICES each device may be number 0."""
    if "TARGET_INFO_CUDA_DEVICE" not in tables:
        return {}
    query = "SELECT gpuId, cudaId, pid FROM TARGET_INFO_CUDA_DEVICE WHERE gpuId IS NOT NULL"
    return {(pid, device): gpu for gpu, device, pid in database.execute(query)}


def _launches(database: sqlite3.Connection, tables: frozenset[str]) -> dict[int, Ints]:
    """Correlations of each process's launches of graphs; empty where calls were not traced."""
    if CALLS not in tables:
        return {}
    query = (
        f"SELECT globalTid >> 24 & 4194303, correlationId FROM {CALLS} WHERE nameId IN "  # noqa: S608
        "(SELECT id FROM StringIds WHERE value LIKE '%GraphLaunch%')"
    )
    found: dict[int, list[int]] = defaultdict(list)
    for pid, correlation in database.execute(query):
        found[pid].append(correlation)
    # As 32 bits, as the kernels have them.
    return {pid: np.array(values, dtype=np.int64).astype(np.int32) for pid, values in found.items()}
