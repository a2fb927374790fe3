"""Decode steps from the spans that an engine names its forward passes with, on the host's clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.traces.table import Ints, TraceError

__all__ = ["NAMED_STEPS", "Span", "SpanSteps", "is_step", "steps_of"]

NAMED_STEPS = (
    "name the steps: torch's profiler with its CPU activity (SGLang's /start_profile with "
    '"activities": ["CPU", "GPU"]), or nsys with --trace=cuda,nvtx and '
    "SGLANG_ENABLE_NVTX_SCHEDULER=1 and the package nvtx in SGLang's environment"
)
"""What to do where a trace has no spans."""

# SGLang's span around a forward pass, with detailed annotations behind the batch size
# (0.5.23, srt/utils/profile_utils.py, build_step_span_name; 0.5.16 has the mode's own name there).
_SGLANG = re.compile(r"step\[(\w+)(?:.*?\bbs=(\d+))?")
# vLLM's (v1/worker/gpu_worker.py): requests in prefill, and requests that decode.
_VLLM = re.compile(r"execute_.*?context_(\d+)(?:\([^)]*\))?_generation_(\d+)")
# One round of SGLang's scheduler, whatever it ran
# (0.5.23, srt/observability/scheduler_stage_metrics.py).
_ROUND = "scheduler.run_batch"

_VERIFY = frozenset({"VERIFY", "TARGET_VERIFY"})
_Kind = Literal["decode", "verify", "draft", "round", "other"]


class Span(NamedTuple):
    """A span on the host, in nanoseconds."""

    begin: int
    end: int
    name: str


@dataclass(frozen=True, kw_only=True)
class SpanSteps:
    """Decode steps on the host's clock, in order.

    Attributes:
        begin: Where the span begins that a step is told by, [steps].
        within: Where the last span of the step ends, [steps].
        end: Where the next span begins that is none of the step's, [steps].
        batch: The batch sizes of a step's spans as one number, [steps]; equal for equal spans.
        others: Spans that are no part of decoding.
        told: What a step is.
        rounds: A step may hold forward passes of a draft model, too.
    """

    begin: Ints
    within: Ints
    end: Ints
    batch: Ints
    others: int
    told: str
    rounds: bool

    def of(self, times: Ints) -> Ints:
        """The step in which each time lies, -1 where in none."""
        place = np.searchsorted(self.begin, times, side="right") - 1
        return np.where((place >= 0) & (times < self.end[place]), place, -1)

    def inside(self, times: Ints, steps: Ints) -> npt.NDArray[np.bool_]:
        """Whether each time lies in its step's own spans, not behind the last of them."""
        return (steps >= 0) & (times < self.within[steps])


def is_step(name: str) -> bool:
    """Whether a span of this name tells a forward pass."""
    return _kind(name) is not None


def steps_of(spans: Sequence[Span]) -> SpanSteps | None:
    """Steps by the spans of one rank; None where there are none.

    With speculative decoding a step is a whole round of draft, verification and draft extension,
    told by its verification, so that it is the same wherever the trace began; kernels that a draft
    launches outside any span belong to it, too. A span of prefill ends the step before it. Where
    only rounds of the scheduler are named, each of them is a step, and the usual kind of them is
    taken for decoding (:func:`evals.comm_kernels.analysis.steps.aligned`).

    Raises:
        TraceError: There are spans, but none of decoding.
    """
    kinds = [(span, kind) for span in sorted(spans) if (kind := _kind(span.name)) is not None]
    named = [(span, kind) for span, kind in kinds if kind[0] != "round"]
    every = named or kinds
    kinds = _outermost(every)
    if not kinds:
        return None
    present = {kind for _, (kind, _) in kinds}
    anchor = next((kind for kind in ("verify", "decode", "round") if kind in present), None)
    if anchor is None:
        names = ", ".join(sorted({span.name for span, _ in kinds})[:3])
        raise TraceError(
            f"holds no decode step: its spans are {names}; trace while the batch decodes"
        )
    own = {"verify": ("verify", "decode", "draft"), "decode": ("decode", "draft")}
    parts = own.get(anchor, (anchor,))
    steps: list[list[tuple[Span, tuple[_Kind, int]]]] = []
    ends: list[int] = []
    for span, kind in kinds:
        begins = kind[0] == anchor
        if len(steps) > len(ends) and (begins or kind[0] not in parts):
            ends.append(span.begin)
        if begins:
            steps.append([(span, kind)])
        elif kind[0] in parts and len(steps) > len(ends):
            steps[-1].append((span, kind))
    ends += [np.iinfo(np.int64).max] * (len(steps) - len(ends))
    batches: dict[tuple[tuple[_Kind, int], ...], int] = {}
    return SpanSteps(
        begin=np.array([step[0][0].begin for step in steps], dtype=np.int64),
        within=np.array([max(span.end for span, _ in step) for step in steps], dtype=np.int64),
        end=np.array(ends, dtype=np.int64),
        batch=np.array(
            [batches.setdefault(tuple(kind for _, kind in step), len(batches)) for step in steps]
        ),
        others=sum(kind[0] not in parts for _, kind in every),
        told=_TOLD[anchor],
        rounds=anchor != "decode",
    )


_TOLD = {
    "verify": "a round of speculative decoding, by the engine's spans",
    "decode": "a span of the engine",
    "round": "a round of the scheduler",
}


def _kind(name: str) -> tuple[_Kind, int] | None:
    """What a span is, and its batch size; None: nothing that tells a forward pass."""
    if name == _ROUND:
        return "round", 0
    if (match := _VLLM.match(name)) is not None:
        return ("decode" if match[1] == "0" else "other"), int(match[2])
    if (match := _SGLANG.match(name)) is None:
        return None
    mode, batch = match[1], int(match[2] or 0)
    if mode in _VERIFY:
        return "verify", batch
    if mode.startswith("DRAFT"):
        return "draft", batch
    return ("decode" if mode == "DECODE" else "other"), batch


_Kinds = list[tuple[Span, tuple[_Kind, int]]]


def _outermost(kinds: _Kinds) -> _Kinds:
    kept: _Kinds = []
    for span, kind in kinds:
        if not kept or span.end > kept[-1][0].end or span.begin >= kept[-1][0].end:
            kept.append((span, kind))
    return kept
