"""Reads SQLite exports of Nsight Systems that traced the kernels of CUDA graphs one by one."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from evals.comm_kernels.rows import NONE, BareRows, stepped
from evals.comm_kernels.sqlite_columns import Query, read_columns
from evals.comm_kernels.table import UNKNOWN_RANK, Ints, Origin, RankKernels, TraceError
from evals.comm_kernels.threads import threads

__all__ = ["EXPORT", "read_nsys"]

EXPORT = "nsys export --type sqlite --lazy=false --output FILE.sqlite FILE.nsys-rep"

_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
_GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
_NEEDED = (
    "start", "end", "deviceId", "streamId", "correlationId", "globalPid", "demangledName",
    "graphNodeId",
)  # fmt: skip
_RANK = re.compile(r"-TP-(\d+)|\brank[-_]?(\d+)")
_LOST = re.compile(r"\bdropp?ed\b|\blost\b", re.IGNORECASE)
_MOST_IDS = 10_000_000


def _unpack(columns: Sequence[Ints]) -> Sequence[Ints]:
    start, end, owner, stream_name, replay = columns
    return start, end, owner, stream_name >> 32, stream_name & 0xFFFFFFFF, replay


# globalPid is vm, pid and thread, the last two of 24 bits (nsys-exporter's manual); a pid has 22.
_QUERY = Query(
    table=_KERNELS,
    expressions=(
        "start",
        '"end"',
        "((globalPid >> 24 & 4194303) << 8) + deviceId",
        "(streamId << 32) | demangledName",
        f"CASE WHEN graphNodeId THEN correlationId ELSE {NONE} END",
    ),
    unpack=_unpack,
    dtypes=(np.int64, np.int64, np.int32, np.int32, np.int32, np.int32),
)

_Gpus = Mapping[tuple[int, int], int]


def read_nsys(path: Path) -> list[RankKernels]:
    """The decode steps of every rank in one export.

    A rank is a process on a device; ranks are numbered in the order of their GPUs, or, where the
    file's name has a rank and holds one, by that name. The kernels of one replay of a CUDA graph
    share the correlation of its cudaGraphLaunch within a process (Nsight Systems' schema, table
    CUPTI_ACTIVITY_KIND_KERNEL).

    Raises:
        TraceError: It cannot be read, lost events, or holds no kernels of CUDA graphs.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = _tables(database)
            _check(path, database, tables)
            names = _names(database)
            gpus = _gpus(database, tables)
        columns = read_columns(path, _QUERY)
    except TraceError:
        raise
    except (sqlite3.Error, OSError, ValueError) as error:
        raise TraceError(f"{path}: is no SQLite export of Nsight Systems: {error}") from error
    ranks = _ranks(columns, gpus, names, path)
    return _numbered(path, ranks)


def _ranks(
    columns: Sequence[Ints], gpus: _Gpus, names: Mapping[int, str], path: Path
) -> list[RankKernels]:
    """One entry for each process and device with kernels of graphs, in the order of GPUs."""
    start, end, owned, stream, names_of, replay = columns

    def rank_of(owner: int) -> RankKernels | None:
        at = np.flatnonzero(owned == owner)
        mine = replay[at]
        if not np.any(mine != NONE):
            return None
        begun = start[at]
        if begun.min() < 0:  # what nsys could not place in time
            at = at[begun >= 0]
        used, name = _used(names_of[at])
        rows = BareRows(
            start=start[at],
            end=end[at],
            stream=stream[at],
            name=name,
            replay=replay[at],
            names=tuple(names.get(index, f"string {index}") for index in used),
        )
        return stepped(rows, Origin(rank=UNKNOWN_RANK, source=path, device="gpu"))

    def place(owner: int) -> tuple[int, int]:
        device = owner & 0xFF
        return gpus.get((owner >> 8, device), device), owner

    owners = sorted(_owners(owned), key=place)
    with ThreadPoolExecutor(threads()) as pool:
        return [rank for rank in pool.map(rank_of, owners) if rank is not None]


def _owners(owned: Ints) -> Iterator[int]:
    """The different values; there are few, so that sorting millions would be a waste."""
    rest = owned
    while len(rest):
        yield int(rest[0])
        rest = rest[rest != rest[0]]


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


def _tables(database: sqlite3.Connection) -> frozenset[str]:
    found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return frozenset(row[0] for row in found)


def _check(path: Path, database: sqlite3.Connection, tables: frozenset[str]) -> None:
    """Raises TraceError for each way in which a report of nsys can be useless or wrong."""
    if "StringIds" not in tables:
        raise TraceError(f"{path}: is no SQLite export of Nsight Systems; make one with: {EXPORT}")
    for text in _diagnostics(database, tables):
        if _LOST.search(text):
            raise TraceError(f"{path}: events were lost ({text}); trace fewer steps at a time")
    graphs = _GRAPHS in tables and _some(database, f"SELECT 1 FROM {_GRAPHS} LIMIT 1")  # noqa: S608
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({_KERNELS})")}
    nodes = "graphNodeId" in columns and _some(
        database,
        f"SELECT 1 FROM {_KERNELS} WHERE graphNodeId LIMIT 1",  # noqa: S608
    )
    if graphs and not nodes:
        raise TraceError(
            f"{path}: was traced with --cuda-graph-trace=graph, which shows graphs as wholes and "
            "no kernel in them; give nsys launch --cuda-graph-trace=node"
        )
    if not columns or not _some(database, f"SELECT 1 FROM {_KERNELS} LIMIT 1"):  # noqa: S608
        raise TraceError(
            f"{path}: holds no kernel; nothing ran while nsys collected, or the server's processes "
            "were not followed (nsys launch --trace=cuda --trace-fork-before-exec=true)"
        )
    missing = [name for name in _NEEDED if name not in columns and name != "graphNodeId"]
    if missing:
        raise TraceError(
            f"{path}: table {_KERNELS} has no column {', '.join(missing)}; this schema is not "
            "known, export again with a current nsys"
        )
    if not nodes:
        raise TraceError(
            f"{path}: holds kernels, but none of a CUDA graph, so that no step can be told; serve "
            "with CUDA graphs, or use torch's profiler, which sees SGLang's own spans"
        )


def _some(database: sqlite3.Connection, query: str) -> bool:
    return database.execute(query).fetchone() is not None


def _diagnostics(database: sqlite3.Connection, tables: frozenset[str]) -> Iterator[str]:
    if "DIAGNOSTIC_EVENT" in tables:
        for (text,) in database.execute("SELECT text FROM DIAGNOSTIC_EVENT"):
            yield str(text)


def _names(database: sqlite3.Connection) -> dict[int, str]:
    return {
        int(key): str(value) for key, value in database.execute("SELECT id, value FROM StringIds")
    }


def _gpus(database: sqlite3.Connection, tables: frozenset[str]) -> _Gpus:
    """The GPU of each process and device: with CUDA_VISIBLE_DEVICES each device may be number 0."""
    if "TARGET_INFO_CUDA_DEVICE" not in tables:
        return {}
    query = "SELECT gpuId, cudaId, pid FROM TARGET_INFO_CUDA_DEVICE WHERE gpuId IS NOT NULL"
    return {(pid, device): gpu for gpu, device, pid in database.execute(query)}
