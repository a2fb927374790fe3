"""Traces of ranks whose every nanosecond is known, written as nsys and torch's profiler write them.

A rank computes, comes to a collective, and waits there for the last rank of its group: the kernel
of rank r takes (latest arrival - its own arrival) + transfer. So the time without imbalance is the
sum of transfers, by construction and not by the analysis that is to be tested.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "ALL_GATHER", "ALL_REDUCE", "GEMM", "REDUCE_SCATTER", "Answers", "Collective", "Compute",
    "Kernel", "NextGraph", "Part", "Schedule", "kineto_document", "named", "write_kineto",
    "write_nsys",
]  # fmt: skip

ALL_GATHER = "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
REDUCE_SCATTER = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
ALL_REDUCE = "void all_reduce_1shot_push_kernel<__nv_bfloat16, 8u, true>(Params)"
GEMM = "void gemm_kernel<128, 64>(Params)"
SAMPLE = "void sampling_kernel<float>(Params)"

MAIN_STREAM, SIDE_STREAM, SAMPLER_STREAM = 13, 17, 7
_PID, _GLOBAL = 700, 1 << 48
_LAUNCH = 3  # id of the name of a graph's launch
_BASE, _AHEAD = 5_000_000_000, 9_000  # nanoseconds; the host launches ahead of a kernel's start


@dataclass(frozen=True)
class Compute:
    """A kernel that takes ``least`` to ``most`` nanoseconds on a busy rank, 500 on an idle one.

    With ``eager`` it is of no CUDA graph.
    """

    least: int
    most: int
    name: str = GEMM
    eager: bool = False


@dataclass(frozen=True)
class Collective:
    """A collective of ``groups`` (None: all ranks) that takes ``transfer`` ns once all are there.

    With ``side`` it runs on another stream beside the next kernel of the main one, with ``eager``
    it is of no CUDA graph.
    """

    name: str
    transfer: int
    groups: tuple[tuple[int, ...], ...] | None = None
    side: bool = False
    eager: bool = False


@dataclass(frozen=True)
class NextGraph:
    """What follows is of another graph of the same step."""


Part = Compute | Collective | NextGraph


class Kernel(NamedTuple):
    """One row."""

    rank: int
    step: int
    stream: int
    start: int
    end: int
    name: str
    inside: bool
    graph: int = 0


@dataclass
class Answers:
    """What is true of each step, in nanoseconds."""

    with_imbalance: list[float] = field(default_factory=list)
    without_imbalance: list[float] = field(default_factory=list)
    period: list[float] = field(default_factory=list)

    def cut(self, edge: int = 1) -> tuple[float, float]:
        """Medians over steps with and without imbalance in ms, without the edges."""
        inner = slice(edge, len(self.with_imbalance) - edge)
        return (
            median(self.with_imbalance[inner]) / 1e6,
            median(self.without_imbalance[inner]) / 1e6,
        )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What every rank runs in a step, and how.

    Attributes:
        ranks: Ranks.
        steps: Steps, the first and the last included.
        parts: Kernels of a step in order.
        every: Parts of steps by number, in place of ``parts``: prefill, another batch.
        gap: Nanoseconds between kernels of a stream.
        between: Nanoseconds between steps, in which the sampler runs for ``sampler`` of them.
        sampler: See above; 0: no such kernel.
        idle: Share of ranks that have nothing to compute.
        seed: Of the computing times.
    """

    ranks: int
    steps: int
    parts: Sequence[Part]
    every: Mapping[int, Sequence[Part]] = field(default_factory=dict)
    gap: int = 700
    between: int = 90_000
    sampler: int = 20_000
    idle: float = 0.0
    seed: int = 1

    def run(self) -> tuple[list[Kernel], Answers]:
        """All kernels, step by step, and what is true of them."""
        answers = Answers()
        return [kernel for step in self.stream(answers) for kernel in step], answers

    def stream(self, answers: Answers) -> Iterator[list[Kernel]]:
        """The kernels of one step of all ranks after the other; fills ``answers`` as it goes."""
        random = np.random.default_rng(self.seed)
        everyone = (tuple(range(self.ranks)),)
        idle = set(range(self.ranks - round(self.idle * self.ranks), self.ranks))
        # Ranks begin up to 3 us apart, as hosts launch them.
        now = [_BASE + int(late) for late in random.integers(0, 3000, self.ranks)]
        for step in range(self.steps):
            begun = list(now)
            kernels: list[Kernel] = []
            waited = alone = 0.0
            graph = 0
            for part in self.every.get(step, self.parts):
                if isinstance(part, NextGraph):
                    graph += 1
                    continue
                inside = not part.eager
                if isinstance(part, Compute):
                    times = random.integers(part.least, part.most + 1, self.ranks).tolist()
                    for rank in range(self.ranks):
                        end = now[rank] + (500 if rank in idle else times[rank])
                        busy = (now[rank], end, part.name, inside, graph)
                        kernels.append(Kernel(rank, step, MAIN_STREAM, *busy))
                        now[rank] = end + self.gap
                    continue
                for group in part.groups or everyone:
                    done = max(now[rank] for rank in group) + part.transfer
                    alone += part.transfer * len(group) / self.ranks
                    for rank in group:
                        stream = SIDE_STREAM if part.side else MAIN_STREAM
                        waiting = (now[rank], done, part.name, inside, graph)
                        kernels.append(Kernel(rank, step, stream, *waiting))
                        waited += (done - now[rank]) / self.ranks
                        now[rank] = now[rank] + 100 if part.side else done + self.gap
            for rank in range(self.ranks):
                last = max(k.end for k in kernels[-2 * self.ranks :] if k.rank == rank)
                now[rank] = max(now[rank], last)
                if self.sampler:
                    start = now[rank] + 1000
                    kernels.append(
                        Kernel(
                            rank, step, SAMPLER_STREAM, start, start + self.sampler, SAMPLE, False
                        )
                    )
                now[rank] += self.between
            answers.with_imbalance.append(waited)
            answers.without_imbalance.append(alone)
            answers.period.append(sum(now) / self.ranks - sum(begun) / self.ranks)
            yield kernels


def correlation(kernel: Kernel, number: int) -> int:
    """Of the launch that started a kernel; a graph's kernels share one, others have their own."""
    return 100 + 1000 * kernel.step + kernel.graph if kernel.inside else 10**8 + number


def named(
    kernels: Iterable[Kernel], names: Callable[[Kernel], str | None]
) -> list[tuple[int, int, int, str]]:
    """Spans of the host around launches of graphs: rank, begin, end, name; None: no span."""
    first: dict[tuple[int, int], Kernel] = {}
    for kernel in kernels:
        if kernel.inside:
            first.setdefault((kernel.rank, correlation(kernel, 0)), kernel)
    every = ((kernel, names(kernel), kernel.start - _AHEAD) for kernel in first.values())
    return [(kernel.rank, at - 200, at + 300, name) for kernel, name, at in every if name]


# Columns of nsys 2025.3 (schema 3.20), in their order.
_SCHEMA = """
CREATE TABLE StringIds(id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE META_DATA_EXPORT(name TEXT NOT NULL, value TEXT);
CREATE TABLE TARGET_INFO_CUDA_DEVICE(gpuId INTEGER, cudaId INTEGER NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE DIAGNOSTIC_EVENT(timestamp INTEGER, timestampType INTEGER, source INTEGER,
  severity INTEGER, text TEXT, globalPid INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE(start INTEGER NOT NULL, "end" INTEGER NOT NULL,
  deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, greenContextId INTEGER,
  streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, graphId INTEGER NOT NULL,
  graphExecId INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME(start INTEGER NOT NULL, "end" INTEGER NOT NULL,
  eventClass INTEGER NOT NULL, globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL,
  returnValue INTEGER NOT NULL, callchainId INTEGER);
CREATE TABLE NVTX_EVENTS(start INTEGER NOT NULL, "end" INTEGER, eventType INTEGER NOT NULL,
  rangeId INTEGER, category INTEGER, color INTEGER, text TEXT, globalTid INTEGER,
  endGlobalTid INTEGER, textId INTEGER, domainId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL(start INTEGER NOT NULL, "end" INTEGER NOT NULL,
  deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, greenContextId INTEGER,
  streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL, mangledName INTEGER,
  launchType INTEGER, cacheConfig INTEGER, registersPerThread INTEGER NOT NULL,
  gridX INTEGER NOT NULL, gridY INTEGER NOT NULL, gridZ INTEGER NOT NULL,
  blockX INTEGER NOT NULL, blockY INTEGER NOT NULL, blockZ INTEGER NOT NULL,
  staticSharedMemory INTEGER NOT NULL, dynamicSharedMemory INTEGER NOT NULL,
  localMemoryPerThread INTEGER NOT NULL, localMemoryTotal INTEGER NOT NULL,
  gridId INTEGER NOT NULL, sharedMemoryExecuted INTEGER NOT NULL, graphNodeId INTEGER,
  sharedMemoryLimitConfig INTEGER NOT NULL);
"""
_KERNEL = "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES(" + ",".join("?" * 28) + ")"


def write_nsys(  # noqa: PLR0913 - a parameter a way in which nsys writes
    path: Path,
    steps: Iterable[Sequence[Kernel]],
    ranks: int,
    *,
    visible: bool = True,
    graph_mode: bool = False,
    diagnostics: Sequence[str] = (),
    calls: bool = True,
    spans: Sequence[tuple[int, int, int, str]] = (),
) -> Path:
    """An export with all ranks, one process each.

    Args:
        path: Where to.
        steps: Kernels in any order.
        ranks: Ranks.
        visible: All processes see all GPUs; else each has its own as device 0.
        graph_mode: As --cuda-graph-trace=graph writes it: graphs as wholes.
        diagnostics: Texts of nsys's own diagnostics.
        calls: With the processes' own calls, the launches of graphs among them.
        spans: NVTX ranges: rank, begin, end, name.
    """
    names = {"cudaGraphLaunch_v10000": _LAUNCH, "cudaLaunchKernel_v7000": _LAUNCH + 1}
    launched: dict[tuple[int, int], tuple[int, int]] = {}
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.executescript(_SCHEMA)
        pids = [_PID + 10 * (ranks - rank) for rank in range(ranks)]
        database.executemany(
            "INSERT INTO TARGET_INFO_CUDA_DEVICE VALUES(?, ?, ?)",
            [(rank, rank if visible else 0, pids[rank]) for rank in range(ranks)],
        )
        database.executemany(
            "INSERT INTO DIAGNOSTIC_EVENT VALUES(0, 0, 0, 2, ?, 0)", [(t,) for t in diagnostics]
        )

        def rows() -> Iterator[tuple[int | None, ...]]:
            nodes = 0
            for step in steps:
                for kernel in step:
                    nodes += 1
                    own = correlation(kernel, nodes)
                    how = _LAUNCH if kernel.inside else _LAUNCH + 1
                    launched.setdefault((kernel.rank, own), (kernel.start - _AHEAD, how))
                    if graph_mode and kernel.inside:
                        continue
                    name = names.setdefault(kernel.name, len(names) + _LAUNCH)
                    yield (
                        kernel.start, kernel.end, kernel.rank if visible else 0, 1, 0,
                        kernel.stream, own, _GLOBAL + (pids[kernel.rank] << 24), name, name,
                        name, 1, 1, 32, 16, 1, 1, 128, 1, 1, 0, 0, 0, 250_871_808, nodes, 32_768,
                        (2 << 32) + nodes if kernel.inside else None, 0,
                    )  # fmt: skip

        database.executemany(_KERNEL, rows())
        if calls:
            database.executemany(
                "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES(?, ?, 0, ?, ?, ?, 0, NULL)",
                [
                    (at, at + 8_000, _GLOBAL + (pids[rank] << 24) + 11, own, how)
                    for (rank, own), (at, how) in launched.items()
                ],
            )
        # Texts by id, as newer exports have them.
        database.executemany(
            "INSERT INTO NVTX_EVENTS VALUES(?, ?, 59, NULL, NULL, NULL, NULL, ?, NULL, ?, 0)",
            [
                (begin, end, _GLOBAL + (pids[rank] << 24) + 11,
                 names.setdefault(name, len(names) + _LAUNCH))
                for rank, begin, end, name in spans
            ],
        )  # fmt: skip
        if graph_mode:
            database.execute(
                "INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES(1, 2, 0, 1, 0, 13, 9, 1, 1, 1)"
            )
        database.executemany(
            "INSERT INTO StringIds VALUES(?, ?)", [(key, text) for text, key in names.items()]
        )
        database.commit()
    return path


def kineto_document(
    kernels: Iterable[Kernel],
    rank: int,
    world: int,
    subgroups: Sequence[int] = (),
    spans: Sequence[tuple[int, int, int, str]] = (),
) -> dict[str, Any]:
    """One rank's trace as torch's profiler writes it."""
    events: list[dict[str, Any]] = [
        {"ph": "X", "cat": "user_annotation", "name": name, "pid": 99 + rank, "tid": 5,
         "ts": begin / 1000, "dur": (end - begin) / 1000, "args": {}}
        for of, begin, end, name in spans
        if of == rank
    ]  # fmt: skip
    launched: set[int] = set()
    for number, kernel in enumerate(kernels):
        if kernel.rank != rank:
            continue
        own = correlation(kernel, number)
        if own not in launched:
            launched.add(own)
            how = "cudaGraphLaunch" if kernel.inside else "cudaLaunchKernel"
            events.append(
                {"ph": "X", "cat": "cuda_runtime", "name": how, "pid": 99 + rank,
                 "tid": 5, "ts": (kernel.start - _AHEAD) / 1000, "dur": 8.125,
                 "args": {"cbid": 311, "correlation": own}}
            )  # fmt: skip
        events.append(
            {"ph": "X", "cat": "kernel", "name": kernel.name, "pid": rank, "tid": kernel.stream,
             "ts": kernel.start / 1000, "dur": (kernel.end - kernel.start) / 1000,
             "args": {"queued": 0, "device": rank, "context": 1, "stream": kernel.stream,
                      "correlation": own, "registers per thread": 32, "shared memory": 0,
                      "blocks per SM": 0.121212, "warps per SM": 0.484848, "grid": [16, 1, 1],
                      "block": [128, 1, 1], "est. achieved occupancy %": 1}}
        )  # fmt: skip
    sizes = [world, *subgroups]
    return {
        "schemaVersion": 1,
        "distributedInfo": {
            "backend": "nccl", "rank": rank, "world_size": world,
            "pg_config": [
                {"pg_name": str(n), "backend_config": "cuda:nccl", "pg_size": size}
                for n, size in enumerate(sizes)
            ],
        },
        "baseTimeNanoseconds": 1_790_857_026_000_000_000,
        "traceEvents": events,
    }  # fmt: skip


def write_kineto(
    folder: Path,
    kernels: Sequence[Kernel],
    ranks: int,
    *,
    plain: bool = True,
    merged: bool = False,
    subgroups: Sequence[int] = (),
    spans: Sequence[tuple[int, int, int, str]] = (),
) -> list[Path]:
    """A file a rank, or one with all, as SGLang's profiler and its merger name them."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = [kineto_document(kernels, rank, ranks, subgroups, spans) for rank in range(ranks)]
    whole = [(f"1-TP-{rank}", document) for rank, document in enumerate(documents)]
    if merged:
        events = [
            {**event, "pid": f"[TP{rank:02d}] {event['pid']}"}
            for rank, document in enumerate(documents)
            for event in document["traceEvents"]
        ]
        whole = [("merged-1", {**documents[0], "traceEvents": events})]
    paths = []
    for name, document in whole:
        text = json.dumps(document).encode()
        path = folder / (f"{name}.trace.json" + ("" if plain else ".gz"))
        path.write_bytes(text if plain else gzip.compress(text, 1))
        paths.append(path)
    return paths
