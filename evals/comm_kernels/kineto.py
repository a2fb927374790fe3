"""Reads a trace of torch's profiler (Kineto) into decode steps; times in nanoseconds."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Kernel", "Trace", "TraceError", "read_trace"]

# SGLang's span around a step (0.5.23, srt/utils/profile_utils.py, build_step_span_name).
_DECODE = re.compile(r"^step\[DECODE\b")
_RANK = re.compile(r"-TP-(\d+)")


class TraceError(ValueError):
    """A trace that nothing can be said from; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One row: a kernel, or on a CPU an operation, in its decode step."""

    rank: int
    step: int
    order: int
    stream: int
    start: int
    end: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One rank's decode steps.

    Attributes:
        rank: From the file's name (-TP-3), else from the trace itself.
        steps: The kernels of each step in order of start; the first and the last step are left out,
            since the profiler may have begun or ended inside them.
        skipped: Steps left out: those two, and steps of another size, which are not decode at the
            full batch.
    """

    rank: int
    steps: Sequence[Sequence[Kernel]]
    skipped: int


def read_trace(path: Path) -> Trace:
    """The decode steps of one file, plain or gzipped.

    On a GPU all kernels of one replay of a CUDA graph share the correlation of its cudaGraphLaunch;
    without graphs, and on a CPU, SGLang's own span says what a step is.

    Raises:
        TraceError: It cannot be read, or holds no decode step.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            document = json.load(file)
        events = document["traceEvents"]
        if not isinstance(events, list):
            raise TypeError("traceEvents is no list")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{path}: is no trace of torch's profiler: {error}") from error
    rank = _rank(path, document)
    groups = _replays(events) or _spans(events)
    if not groups:
        raise TraceError(f"{path}: {_nothing(events)}")
    whole = groups[1:-1]
    if not whole:
        raise TraceError(
            f"{path}: holds {len(groups)} decode steps, of which the first and the last are left "
            "out; trace more steps"
        )
    usual = Counter(len(group) for group in whole).most_common(1)[0][0]
    kept = [group for group in whole if len(group) == usual]
    steps = [
        [_kernel(event, rank, step, order) for order, event in enumerate(group)]
        for step, group in enumerate(kept)
    ]
    return Trace(rank=rank, steps=steps, skipped=len(groups) - len(kept))


def _nothing(events: Sequence[Mapping[str, Any]]) -> str:
    if not events:
        return "is empty; the profiler saw nothing"
    graphs = len(_launches(events))
    if graphs and not any(event.get("cat") == "kernel" for event in events):
        return f"holds {graphs} launches of CUDA graphs and no kernel in them; trace the GPU, too"
    return "holds no decode step, neither replays of a CUDA graph nor spans step[DECODE ...]"


def _rank(path: Path, document: Mapping[str, Any]) -> int:
    match = _RANK.search(path.name)
    if match is not None:
        return int(match[1])
    return int(document.get("distributedInfo", {}).get("rank", 0))


def _launches(events: Sequence[Mapping[str, Any]]) -> set[int]:
    return {
        event["args"]["correlation"]
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver")
        and "GraphLaunch" in event.get("name", "")
    }


def _replays(events: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    launches = _launches(events)
    groups: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "kernel" and event["args"].get("correlation") in launches:
            groups[event["args"]["correlation"]].append(event)
    ordered = [sorted(group, key=_start) for group in groups.values()]
    return sorted(ordered, key=lambda group: _start(group[0]))


def _spans(events: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    spans = sorted((event for event in events if _is_span(event)), key=_start)
    on_gpu = any(event.get("cat") == "kernel" for event in events)
    # A collective of a backend that is written in Python is an annotation.
    wanted = ("kernel",) if on_gpu else ("cpu_op", "user_annotation")
    ours = sorted(
        (event for event in events if event.get("cat") in wanted and not _is_span(event)),
        key=_start,
    )
    groups = []
    for span in spans:
        end = _start(span) + float(span["dur"])
        groups.append([event for event in ours if _start(span) <= _start(event) < end])
    return [group for group in groups if group]


def _is_span(event: Mapping[str, Any]) -> bool:
    return (
        event.get("ph") == "X"
        and event.get("cat") in ("user_annotation", "gpu_user_annotation")
        and _DECODE.search(event.get("name", "")) is not None
    )


def _start(event: Mapping[str, Any]) -> float:
    return float(event["ts"])


def _kernel(event: Mapping[str, Any], rank: int, step: int, order: int) -> Kernel:
    start = round(_start(event) * 1000)
    return Kernel(
        rank=rank,
        step=step,
        order=order,
        stream=int(event.get("args", {}).get("stream", 0)),
        start=start,
        end=start + round(float(event.get("dur", 0)) * 1000),
        name=str(event["name"]),
    )
