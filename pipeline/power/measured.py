"""Variances, tokens and pace as a run showed them; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from math import log, sqrt
from statistics import fmean, median, stdev

from evals.job import Answer
from evals.metrics import METRICS, is_fraction
from pipeline.gate.gains import repeats_reference
from pipeline.plan.model import LayoutKey, Plan
from pipeline.power.basis import (
    JobBasis,
)
from pipeline.records.record import Record, Status
from pipeline.stats.launches import LEAST_SPREAD, launch_ratio
from pipeline.stats.power import Difficulty

__all__ = ["measured_basis"]

_Place = tuple[LayoutKey, str]
_Means = dict[str, tuple[float, int]]
"""Share of right answers and how many there are, by question."""


def measured_basis(
    plan: Plan, records: Iterable[Record], answers: Callable[[Record], Sequence[Answer]]
) -> dict[str, JobBasis]:
    """What a run's ok records show of each of its jobs.

    The variance inside a question comes from repeats of the same arm on the same layout where there
    are any. Where each question was asked once it comes from pairs: of the reference arm with
    itself on other layouts (A/A), else of the arms, whose true difference it then includes.

    How launches differ comes from those of equal arms where some arm repeats the reference: all of
    one layout together, what blocks share included. Else from the blocks of each pair of arms.

    Args:
        plan: The run's plan.
        records: Its records.
        answers: Gives the answers of a record; may raise
            :class:`pipeline.records.record.RecordError`.
    """
    by_job: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.status is Status.OK:
            by_job[record.job].append(record)
    found: dict[str, JobBasis] = {}
    for job, ok in by_job.items():
        if ok[0].kind == "accuracy":
            basis = _accuracy(plan, [(record, answers(record)) for record in ok])
        else:
            basis = _speed(plan, ok)
        if basis is not None:
            found[job] = basis
    return found


def _accuracy(plan: Plan, cells: Sequence[tuple[Record, Sequence[Answer]]]) -> JobBasis | None:
    right: dict[_Place, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for record, given in cells:
        for one in given:
            if one.mark != "error":
                right[record.layout, record.arm][one.id].append(one.mark == "correct")
    places: dict[_Place, _Means] = {
        place: {key: (fmean(values), len(values)) for key, values in asked.items()}
        for place, asked in right.items()
    }
    reference = [means for (_, arm), means in places.items() if arm == plan.reference]
    if not reference:
        return None
    questions = len({key for means in reference for key in means})
    least = 0.5 / questions
    score = fmean(mean for means in reference for mean, _ in means.values())
    score = min(max(score, least), 1 - least)
    within, source = _within(plan.reference, places)
    difficulty = (
        None
        if within is None
        else Difficulty(score=score, within=min(max(within, least / 2), score * (1 - score)))
    )
    every = [one for _, given in cells for one in given]
    tokens = [one.completion_tokens for one in every if one.completion_tokens]
    rates = [rate for _, given in cells if (rate := _rate(given)) is not None]
    return JobBasis(
        difficulty=difficulty,
        tokens=fmean(tokens) if tokens else None,
        tokens_per_s=median(rates) if rates else None,
        questions=questions,
        source=f"measured in the run: {source}",
    )


def _within(reference: str, places: Mapping[_Place, _Means]) -> tuple[float | None, str]:
    repeated = [
        mean * (1 - mean) * count / (count - 1)
        for means in places.values()
        for mean, count in means.values()
        if count > 1
    ]
    if repeated:
        return fmean(repeated), "repeats of the same questions"
    same = [means for (_, arm), means in places.items() if arm == reference]
    if len(same) > 1:
        return _half_square(combinations(same, 2)), "the reference on several layouts"
    pairs = [
        (places[layout, reference], means)
        for (layout, arm), means in places.items()
        if arm != reference and (layout, reference) in places
    ]
    told = "pairs of arms, their true difference included"
    return (_half_square(pairs), told) if pairs else (None, "one arm, asked once")


def _half_square(pairs: Iterable[tuple[_Means, _Means]]) -> float | None:
    """Half the mean square of differences: the variance of one sample, if nothing differs truly."""
    squares = [
        (one[key][0] - other[key][0]) ** 2 / 2
        for one, other in pairs
        for key in one.keys() & other.keys()
    ]
    return fmean(squares) if squares else None


def _rate(given: Sequence[Answer]) -> float | None:
    starts = [one.started_at for one in given if one.started_at is not None]
    ends = [one.ended_at for one in given if one.ended_at is not None]
    if not starts or not ends or max(ends) <= min(starts):
        return None
    tokens = sum(one.completion_tokens or 0 for one in given)
    return tokens / (max(ends) - min(starts)) if tokens else None


def _speed(plan: Plan, records: Sequence[Record]) -> JobBasis | None:
    names = {name for record in records for name in record.metrics if name in METRICS}
    equal = {plan.reference, *repeats_reference(plan)}
    told = f"launches of equal arms ({', '.join(sorted(equal))})" if len(equal) > 1 else "launches"
    spreads: dict[str, float] = {}
    for name in sorted(names):
        if is_fraction(name) or METRICS[name].compared_as == "shift":
            continue
        values: dict[_Place, dict[int, float]] = defaultdict(dict)
        for record in records:
            if record.metrics.get(name, 0.0) > 0:
                values[record.layout, record.arm][record.block] = record.metrics[name]
        seen = _of_equal(equal, values) or _of_pairs(plan.reference, values)
        if seen:
            spreads[name] = sqrt(fmean(spread**2 for spread in seen))
    return JobBasis(spreads=spreads, source=f"measured in the run: {told}") if spreads else None


_Values = Mapping[_Place, Mapping[int, float]]
"""One value a launch, by block."""


def _of_equal(equal: Collection[str], values: _Values) -> list[float]:
    """Of a difference of two launches, layout by layout; none where no two arms are equal."""
    logs: dict[LayoutKey, list[float]] = defaultdict(list)
    arms: dict[LayoutKey, int] = defaultdict(int)
    for (layout, arm), own in values.items():
        if arm in equal:
            logs[layout] += map(log, own.values())
            arms[layout] += 1
    return [
        max(sqrt(2) * stdev(own), LEAST_SPREAD)
        for layout, own in logs.items()
        if arms[layout] > 1 and len(own) > 2
    ]


def _of_pairs(reference: str, values: _Values) -> list[float]:
    """Of the differences inside blocks of every arm and the reference."""
    found: list[float] = []
    for (layout, arm), own in values.items():
        theirs = values.get((layout, reference), {})
        if arm != reference and own.keys() == theirs.keys() and len(own) > 1:
            spread = launch_ratio(theirs, own, 0.05).spread
            if spread is not None:
                found.append(spread)
    if not found:
        # No other arm: two launches of one arm differ by as much as those of two equal arms.
        found = [sqrt(2) * stdev(map(log, own.values())) for own in values.values() if len(own) > 1]
    return found
