"""Reads traces of torch's profiler (Kineto), one rank a file or merged, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from evals.comm_kernels.families import family_of
from evals.comm_kernels.traces.rows import NONE, BareRows, stepped
from evals.comm_kernels.traces.spans import Span, is_step
from evals.comm_kernels.traces.table import UNKNOWN_RANK, Origin, RankKernels, TraceError

__all__ = ["read_kineto"]

_RANK = re.compile(r"-TP-(\d+)|\brank[-_]?(\d+)")
# SGLang's merger puts the rank before each process (0.5.23, srt/utils/profile_merger.py).
_LABEL = re.compile(r"^\[(?:\w+-)*?TP(\d+)[-\]]")
_ON_GPU = re.compile(r"cuda:nccl|^nccl")
_HOST = frozenset({"cuda_runtime", "cuda_driver"})
_ANNOTATIONS = frozenset({"user_annotation", "gpu_user_annotation"})


class _Args(msgspec.Struct, gc=False):
    correlation: Any = None
    stream: Any = None


class _Event(msgspec.Struct, gc=False):
    """What is needed of an event; everything else is skipped while parsing."""

    name: str = ""
    cat: str = ""
    ph: str = ""
    ts: float = 0.0
    dur: float = 0.0
    pid: Any = None
    tid: Any = None
    args: _Args | None = None


class _Document(msgspec.Struct):
    events: list[_Event] = msgspec.field(name="traceEvents")
    distributed: dict[str, Any] = msgspec.field(name="distributedInfo", default_factory=dict)


_DECODER = msgspec.json.Decoder(_Document)


def read_kineto(path: Path) -> list[RankKernels]:
    """The decode steps of one file; a merged one holds several ranks.

    The engine's own spans say what a step is; where there are none, replays of CUDA graphs, whose
    kernels share the correlation of their cudaGraphLaunch. Times are microseconds with three
    decimals, so nanoseconds are exact (Kineto counts from a base time to keep them so).

    Raises:
        TraceError: It cannot be read, or holds no decode step.
    """
    document = _parsed(path)
    ranks = _by_rank(path, document)
    info = document.distributed if len(ranks) == 1 else {}
    return [_rank(path, number, events, info) for number, events in sorted(ranks.items())]


def _parsed(path: Path) -> _Document:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        try:
            return _DECODER.decode(content)
        except msgspec.DecodeError:
            # Python's parser takes NaN and Infinity, which some versions of Kineto write.
            return msgspec.convert(json.loads(content), _Document, strict=False)
    except (OSError, EOFError, ValueError, msgspec.MsgspecError, zlib.error) as error:
        raise TraceError(f"{path}: is no trace of torch's profiler: {error}") from error


def _by_rank(path: Path, document: _Document) -> Mapping[int, Sequence[_Event]]:
    events = document.events
    labelled: dict[int, list[_Event]] = defaultdict(list)
    known: dict[Any, int | None] = {}
    for event in events:
        pid = event.pid
        if pid.__class__ is not str:
            continue
        if pid not in known:
            match = _LABEL.match(pid)
            known[pid] = None if match is None else int(match[1])
        rank = known[pid]
        if rank is not None:
            labelled[rank].append(event)
    if labelled:
        return labelled
    match = _RANK.search(path.name)
    if match is not None:
        return {int(match[1] or match[2]): events}
    return {int(document.distributed.get("rank", UNKNOWN_RANK)): events}


def _rank(path: Path, rank: int, events: Sequence[_Event], info: Mapping[str, Any]) -> RankKernels:
    kernels = [event for event in events if event.cat == "kernel"]
    replays = {
        event.args.correlation
        for event in events
        if event.cat in _HOST and "GraphLaunch" in event.name and event.args is not None
    }
    world, subgroups = _process_groups(info)
    origin = Origin(
        rank=rank,
        source=path,
        device="gpu" if kernels else "cpu",
        world=world,
        subgroups=subgroups,
    )
    spans = [
        event
        for event in events
        if event.cat in _ANNOTATIONS and event.ph == "X" and is_step(event.name)
    ]
    if not kernels:
        # A collective of a backend that is written in Python is an annotation.
        kernels = [
            event
            for event in events
            if event.cat in ("cpu_op", "user_annotation")
            and event.ph == "X"
            and not is_step(event.name)
        ]
        if not kernels or not spans:
            raise TraceError(f"{path}: {_nothing(events, replays)}")
        return stepped(_bare(kernels, []), origin, _of_host(spans))
    keys = [_correlation(kernel) for kernel in kernels]
    replayed = [key if key in replays else NONE for key in keys] if replays else []
    # When a kernel was launched is asked only where something rests on it.
    needed = bool(spans) or any(
        key not in replays and family_of(event.name) is not None
        for key, event in zip(keys, kernels, strict=True)
    )
    when = {_correlation(e): _ns(e.ts) for e in events if needed and e.cat in _HOST}
    launched = [when.get(key, NONE) for key in keys] if needed else []
    if spans and all(time == NONE for time in launched):
        # Only the GPU's side was kept: its spans last from their first kernel to their last.
        on_gpu = [span for span in spans if span.cat == "gpu_user_annotation"]
        return stepped(
            _bare(kernels, replayed, [_ns(e.ts) for e in kernels]),
            origin,
            _of_host(on_gpu or spans),
        )
    spans = [span for span in spans if span.cat == "user_annotation"]
    return stepped(_bare(kernels, replayed, launched), origin, _of_host(spans))


def _of_host(spans: Iterable[_Event]) -> list[Span]:
    return [Span(_ns(span.ts), _ns(span.ts + span.dur), span.name) for span in spans]


def _ns(microseconds: float) -> int:
    return round(microseconds * 1000)


def _correlation(event: _Event) -> int:
    found = None if event.args is None else event.args.correlation
    return found if isinstance(found, int) else NONE


def _nothing(events: Sequence[_Event], replays: set[Any]) -> str:
    if not events:
        return "is empty; the profiler saw nothing"
    if replays:
        count = len(replays)
        return f"holds {count} launches of CUDA graphs and no kernel in them; trace the GPU, too"
    return "holds no decode step, neither replays of a CUDA graph nor spans step[DECODE ...]"


def _bare(
    events: Sequence[_Event], replays: Sequence[int], launched: Sequence[int] | None = None
) -> BareRows:
    """Rows of events; without replays none is of a graph, and a CPU's are launched as they run."""
    index: dict[str, int] = {}
    names = [index.setdefault(event.name, len(index)) for event in events]
    start = np.rint(np.array([event.ts for event in events]) * 1000).astype(np.int64)
    took = np.rint(np.array([event.dur for event in events]) * 1000).astype(np.int64)
    return BareRows(
        start=start,
        end=start + took,
        stream=np.array([_stream(event) for event in events], dtype=np.int64),
        name=np.array(names, dtype=np.int64),
        replay=np.array(replays, dtype=np.int64) if replays else np.full(len(events), NONE),
        names=tuple(index),
        launched=start if launched is None else np.array(launched) if launched else None,
    )


def _stream(event: _Event) -> int:
    if event.args is not None and event.args.stream.__class__ is int:
        return int(event.args.stream)
    return event.tid if event.tid.__class__ is int else 0


def _process_groups(info: Mapping[str, Any]) -> tuple[int | None, frozenset[int] | None]:
    """Ranks of the run, and sizes of device groups between one and all, as torch wrote them."""
    world, groups = info.get("world_size"), info.get("pg_config")
    if not isinstance(world, int) or not isinstance(groups, list):
        return None, None
    sizes = {
        group.get("pg_size")
        for group in groups
        if isinstance(group, Mapping) and _ON_GPU.search(str(group.get("backend_config", "")))
    }
    between = {size for size in sizes if isinstance(size, int) and 1 < size < world}
    return world, frozenset(between)
