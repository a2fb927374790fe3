"""Where the time of a decode step goes: communication, other kernels, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from evals.comm_kernels.analysis.groups import Grouping, UnknownGroups
from evals.comm_kernels.analysis.intervals import Bools, Floats, StepClock, per_step
from evals.comm_kernels.analysis.sequences import Collectives
from evals.comm_kernels.families import FAMILIES, suspicious
from evals.comm_kernels.traces.table import (
    KernelTable,
    RankKernels,
    TraceError,
    short_name,
    threads,
)

__all__ = ["FamilyFigures", "Figures", "figures"]

_NS_PER_MS = 1e6
_UNKNOWN_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class FamilyFigures:
    """One family's part of a decode step; times in ms, medians over steps."""

    with_imbalance_ms: float
    without_imbalance_ms: float | None
    kernels_per_step: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Times of a decode step in ms: means over ranks in each step, then medians over steps.

    Attributes:
        ranks: Ranks.
        steps: Decode steps that count.
        step_is: What a step is: a replay of a CUDA graph, a cycle of several, a span.
        skipped_steps: Steps left out.
        skipped: The same by reason.
        with_imbalance_ms: Sum of the communication kernels of a step.
        without_imbalance_ms: The same, but of each collective the shortest kernel among the ranks
            that it joins: the last to come hardly waits. None: see ``refused``.
        imbalance_ms: The difference of the two, step by step. None: see ``refused``.
        span_ms: Time between compute kernels of a step in which there is communication; what waits
            before its own start is in it, too.
        overlap_ms: Time in which communication and compute kernels run at once.
        kernels_per_step: Communication kernels.
        compute_ms: Sum of all other kernels of a step.
        beside_ms: Sum of kernels that run between two replays of the graph, or beside one.
        step_ms: From one step's first kernel to the next one's; None where no step has a next.
        exposed_ms: The part of ``step_ms`` in which only communication runs.
        other_kernels_ms: The part in which other kernels run.
        gaps_ms: The part in which nothing runs; the three add up to ``step_ms`` step by step.
        families: By family.
        compute: Sum by name of kernels that are no communication, beside ones included.
        groups: Where the groups of ranks come from.
        refused: Why there is no figure without imbalance; "" where there is one.
    """

    ranks: int
    steps: int
    step_is: str
    skipped_steps: int
    skipped: Mapping[str, int]
    with_imbalance_ms: float
    without_imbalance_ms: float | None
    imbalance_ms: float | None
    span_ms: float
    overlap_ms: float
    kernels_per_step: float
    compute_ms: float
    beside_ms: float
    step_ms: float | None
    exposed_ms: float | None
    other_kernels_ms: float | None
    gaps_ms: float | None
    families: Mapping[str, FamilyFigures]
    compute: Mapping[str, float]
    groups: str
    refused: str


@dataclass(frozen=True, kw_only=True)
class _OfRank:
    """Nanoseconds of each step of one rank, [steps]; ``by_name`` is [steps, names]."""

    span: Floats
    overlap: Floats
    exposed: Floats
    other: Floats
    compute: Floats
    beside: Floats
    by_name: Floats


def figures(table: KernelTable, found: Collectives, grouped: Callable[[], Grouping]) -> Figures:
    """All figures of a capture.

    Args:
        table: Aligned steps of all ranks.
        found: Its collectives.
        grouped: Gives the groups of the collectives, or raises UnknownGroups, which only refuses
            the figures without imbalance.

    Raises:
        TraceError: A kernel of no known family looks like communication and takes over 1 % of a
            step.
    """
    with ThreadPoolExecutor(threads()) as pool:
        ranks = list(pool.map(lambda rank: _of_rank(rank, table.steps), table.ranks))
    _no_unknown(table, ranks)
    try:
        grouping, refused = grouped(), ""
        if found.ambiguous:
            raise UnknownGroups(found.ambiguous)
        shortest = _shortest(found, grouping)
    except UnknownGroups as error:
        grouping, refused, shortest = None, str(error), None
    took = found.took.mean(axis=0)
    waited = per_step(found.step, took, table.steps)
    alone = None if shortest is None else per_step(found.step, shortest, table.steps)
    numbers = np.diff(found.begin)
    periods = np.array([rank.period for rank in table.ranks])
    timed = np.all(periods >= 0, axis=0)
    period = periods.mean(axis=0)
    exposed = _mean(ranks, lambda rank: rank.exposed)
    other = _mean(ranks, lambda rank: rank.other)
    return Figures(
        ranks=len(ranks),
        steps=table.steps,
        step_is=table.ranks[0].origin.told,
        skipped_steps=table.skipped_steps,
        skipped=dict(table.skipped),
        with_imbalance_ms=_median(waited),
        without_imbalance_ms=None if alone is None else _median(alone),
        imbalance_ms=None if alone is None else _median(waited - alone),
        span_ms=_median(_mean(ranks, lambda rank: rank.span)),
        overlap_ms=_median(_mean(ranks, lambda rank: rank.overlap)),
        kernels_per_step=float(np.median(numbers)),
        compute_ms=_median(_mean(ranks, lambda rank: rank.compute)),
        beside_ms=_median(_mean(ranks, lambda rank: rank.beside)),
        step_ms=_of_timed(period, timed),
        exposed_ms=_of_timed(exposed, timed),
        other_kernels_ms=_of_timed(other, timed),
        gaps_ms=_of_timed(period - exposed - other, timed),
        families=_families(found, took, shortest, table.steps),
        compute=_by_name(table, ranks),
        groups="unknown" if grouping is None else grouping.told,
        refused=refused,
    )


def _of_rank(rank: RankKernels, steps: int) -> _OfRank:
    communicates = rank.families()[rank.name] >= 0
    inside = rank.order >= 0
    computes, speaks, beside = ~communicates & inside, communicates & inside, ~inside
    clock = StepClock.of(rank.start, rank.end, np.searchsorted(rank.step, np.arange(steps)))
    took = rank.end - rank.start
    # A step's time ends where the next one begins; a kernel's tail behind that is not the step's.
    timed = clock.cut(np.where(rank.period >= 0, rank.period, clock.end.max()))
    everything, other = timed.busy(), timed.busy(~communicates)
    alone = bool(inside.all())
    return _OfRank(
        span=clock.gaps_with(speaks, computes, rank.ends - rank.begins),
        overlap=clock.busy(speaks) + clock.busy(computes) - clock.busy(None if alone else inside),
        exposed=everything - other,
        other=other,
        compute=clock.sums(np.where(computes, took, 0)),
        beside=clock.sums(np.where(beside, took, 0)),
        by_name=per_step(
            rank.step * len(rank.names) + rank.name, took, steps * len(rank.names)
        ).reshape(steps, len(rank.names)),
    )


def _mean(ranks: Sequence[_OfRank], value: Callable[[_OfRank], Floats]) -> Floats:
    return np.asarray(np.mean([value(rank) for rank in ranks], axis=0))


def _median(of_steps: Floats) -> float:
    return float(np.median(of_steps)) / _NS_PER_MS


def _of_timed(of_steps: Floats, timed: Bools) -> float | None:
    return _median(of_steps[timed]) if timed.any() else None


def _shortest(found: Collectives, grouping: Grouping) -> Floats:
    """Mean over ranks of the shortest kernel in each one's group, of each collective, [n]."""
    shortest = np.zeros(len(found.step))
    for place, partition in enumerate(grouping.partitions):
        mine = np.flatnonzero(grouping.of == place)
        if len(mine):
            took = found.took[:, mine]
            parts = [len(group) * took[list(group)].min(axis=0) for group in partition]
            shortest[mine] = np.sum(parts, axis=0) / found.ranks
    return shortest


def _families(
    found: Collectives, took: Floats, shortest: Floats | None, steps: int
) -> dict[str, FamilyFigures]:
    figures: dict[str, FamilyFigures] = {}
    for place in np.unique(found.family).tolist():
        mine = found.family == place

        def summed(values: Floats, mine: Bools = mine) -> Floats:
            return per_step(found.step[mine], values[mine], steps)

        figures[FAMILIES[place].name] = FamilyFigures(
            with_imbalance_ms=_median(summed(took)),
            without_imbalance_ms=None if shortest is None else _median(summed(shortest)),
            kernels_per_step=float(np.median(summed(np.ones(len(found.step))))),
        )
    return dict(sorted(figures.items()))


def _by_name(table: KernelTable, ranks: Sequence[_OfRank]) -> dict[str, float]:
    """Medians over steps of means over ranks, largest first; names that take nothing left out."""
    sums: dict[str, Floats] = {}
    for rank, figures in zip(table.ranks, ranks, strict=True):
        for place, family in enumerate(rank.families().tolist()):
            if family < 0:
                name = short_name(rank.names[place])
                sums[name] = sums.get(name, 0.0) + figures.by_name[:, place]
    medians = {name: _median(values / len(ranks)) for name, values in sums.items()}
    return {
        name: value for name, value in sorted(medians.items(), key=lambda item: -item[1]) if value
    }


def _no_unknown(table: KernelTable, ranks: Sequence[_OfRank]) -> None:
    for rank, figures in zip(table.ranks, ranks, strict=True):
        whole = float((rank.ends - rank.begins).sum())
        for place, name in enumerate(rank.names):
            share = float(figures.by_name[:, place].sum()) / whole if whole else 0.0
            if share > _UNKNOWN_SHARE and suspicious(name):
                raise TraceError(
                    f"rank {rank.rank}: {short_name(name)} looks like communication, takes "
                    f"{share:.1%} of a decode step and is of no known family; without it no figure "
                    "is right. Add it to evals/comm_kernels/families.py with where its name is from"
                )
