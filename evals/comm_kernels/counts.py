"""How many kernels of each family a decode step has, over all ranks; unequal ranks are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from evals.comm_kernels.families import family_of, mode_of, suspicious
from evals.comm_kernels.kineto import Kernel, Trace, TraceError

__all__ = ["count"]


def count(traces: Sequence[Trace]) -> dict[str, Any]:
    """Counts that hold for every step of every rank.

    Returns:
        ``ranks``, ``steps`` (of each rank), ``skipped_steps`` (of all), ``kernels`` a step,
        ``families`` (kernels a step by family; {"min", "max"} where steps differ), ``modes`` (of
        MixedComm's kernels, a step) and ``unknown`` (kernels of no family that look like
        communication, a step).

    Raises:
        TraceError: A rank is there twice, ranks have more than one step more or less, or ran other
            communication than the first one; the message has the step and the first kernel that
            differs.
    """
    ranks = [trace.rank for trace in traces]
    if len(set(ranks)) != len(ranks):
        raise TraceError(f"rank {Counter(ranks).most_common(1)[0][0]} is there twice")
    first = traces[0]
    for other in traces[1:]:
        _same(first, other)
    steps = min(len(trace.steps) for trace in traces)
    families: dict[str, Any] = {}
    for name in sorted({f for step in first.steps for k in step if (f := family_of(k.name))}):
        counts = [sum(family_of(k.name) == name for k in step) for step in first.steps]
        same = min(counts) == max(counts)
        families[name] = counts[0] if same else {"min": min(counts), "max": max(counts)}
    step = first.steps[0]
    modes = Counter(mode_of(k.name) for k in step if family_of(k.name) == "mixed")
    return {
        "ranks": len(traces),
        "steps": steps,
        "skipped_steps": sum(trace.skipped for trace in traces),
        "kernels": len(step),
        "families": families,
        "modes": {str(mode): number for mode, number in modes.items()},
        "unknown": dict(Counter(k.name for k in step if suspicious(k.name))),
    }


def _same(first: Trace, other: Trace) -> None:
    # Profilers of ranks may begin or end one step apart; more means that events were lost.
    if abs(len(first.steps) - len(other.steps)) > 1:
        raise TraceError(
            f"rank {first.rank} has {len(first.steps)} whole decode steps and rank {other.rank} "
            f"has {len(other.steps)}; events were lost, trace again"
        )
    for number, (ours, theirs) in enumerate(zip(first.steps, other.steps, strict=False)):
        one, two = _communication(ours), _communication(theirs)
        if one != two:
            at = next(
                (i for i, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]),
                min(len(one), len(two)),
            )
            raise TraceError(
                f"step {number}: rank {first.rank} runs {len(one)} communication kernels and rank "
                f"{other.rank} runs {len(two)}; the first difference is number {at}: "
                f"{_at(one, at)} against {_at(two, at)}"
            )


def _communication(step: Sequence[Kernel]) -> list[str]:
    return [family for kernel in step if (family := family_of(kernel.name)) is not None]


def _at(names: Sequence[str], at: int) -> str:
    return names[at] if at < len(names) else "nothing"
