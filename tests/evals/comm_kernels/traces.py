"""Made-up traces of torch's profiler."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GATHER = "ncclDevKernel_AllGather_RING_LL(x)"
SCATTER = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(x)"
GEMM = "void gemm(x)"


def replays(steps: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """One CUDA graph replay a step, with these kernels, and one kernel of no replay."""
    events: list[dict[str, Any]] = [
        {"ph": "X", "cat": "kernel", "name": GATHER, "ts": 0.5, "dur": 1.0,
         "args": {"correlation": 9999, "stream": 1}},
    ]  # fmt: skip
    for step, names in enumerate(steps):
        begin, correlation = 1000.0 * (step + 1), 10 + step
        events.append(
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": begin, "dur": 2.0,
             "args": {"correlation": correlation}}
        )  # fmt: skip
        # Later kernels first: a trace is not sorted.
        events += [
            {"ph": "X", "cat": "kernel", "name": names[order], "ts": begin + 10 * order + 5,
             "dur": 2.5, "args": {"correlation": correlation, "stream": 7}}
            for order in reversed(range(len(names)))
        ]  # fmt: skip
    return events


def spans(steps: Sequence[Sequence[str]], label: str = "DECODE bs=8") -> list[dict[str, Any]]:
    """The same on a CPU: SGLang's spans, and operations in them."""
    events: list[dict[str, Any]] = []
    for step, names in enumerate(steps):
        begin = 1000.0 * (step + 1)
        events.append(
            {"ph": "X", "cat": "user_annotation", "name": f"step[{label}]", "ts": begin,
             "dur": 900.0}
        )  # fmt: skip
        events += [
            {"ph": "X", "cat": "cpu_op", "name": name, "ts": begin + 10 * order, "dur": 5.0}
            for order, name in enumerate(names)
        ]
    return events


def write(folder: Path, rank: int, events: list[dict[str, Any]], *, plain: bool = False) -> Path:
    """One rank's file."""
    text = json.dumps({"schemaVersion": 1, "traceEvents": events})
    folder.mkdir(parents=True, exist_ok=True)
    if plain:
        path = folder / f"1-TP-{rank}-DP-0.trace.json"
        path.write_text(text, encoding="utf-8")
        return path
    path = folder / f"1-TP-{rank}-DP-0.trace.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path
