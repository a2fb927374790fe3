"""Records levelled to A/A: every arm repeats the reference, so that what is injected is all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp, isfinite, log
from statistics import fmean
from typing import TypeVar

from evals.metrics import METRICS
from pipeline.gate.evidence import asks, unfit
from pipeline.gate.gains import repeats_reference
from pipeline.plan.model import LayoutKey, Plan
from pipeline.records.record import Record, RecordError, Status
from pipeline.selftest.stored import Place, Stored

__all__ = ["candidate", "levelled", "places"]

_T = TypeVar("_T")

# How far launches may lie from their mean after levelling, of the gate's margin: their own noise is
# a question to `servegate power`; the self-test asks whether the gate's rules work.
_KEPT_NOISE = 0.05


def places(plan: Plan) -> list[Place]:
    """All rows that this plan can measure, layouts in order, the reference first in each."""
    names = sorted((arm.name for arm in plan.arms), key=lambda name: name != plan.reference)
    supported = {(one.layout, one.arm) for one in plan.launches if not one.unsupported}
    return [
        Place(layout, name)
        for layout in plan.layouts
        for name in names
        if (layout, name) in supported
    ]


def candidate(plan: Plan) -> Place:
    """The row that faults are injected into: an arm that somebody wants to change to, if any.

    The last one of the first layout that has one.

    Raises:
        RecordError: No arm but the reference can run.
    """
    arms = [place for place in places(plan) if place.arm != plan.reference]
    common = {*plan.baselines, *repeats_reference(plan)}
    wanted = [place for place in arms if place.arm not in common]
    if not arms:
        raise RecordError("no arm but the reference can run: there is nothing to test a gate on")
    possible = wanted or arms
    return [place for place in possible if place.layout == possible[0].layout][-1]


def levelled(stored: Stored) -> Stored:
    """The same run as A/A: records ok, and equal in all arms and layouts, block by block.

    Each cell gets the numbers and answers of one good record of its job, the reference's where
    there is one. Launches keep a little of their own noise.

    Raises:
        RecordError: A gated job has no good record to start from.
    """
    sources = {job: _sources(stored, job) for job in stored.plan.jobs}
    records: dict[str, Record] = {}
    copied: dict[str, str] = {}
    for launch in stored.plan.launches:
        if launch.unsupported:
            records.update(
                {c.id: stored.records[c.id] for c in launch.cells if c.id in stored.records}
            )
            continue
        for cell in launch.cells:
            found = sources[cell.job]
            if not found:
                if stored.plan.gates.get(cell.job):
                    raise RecordError(
                        f"{stored.source}: the gated job {cell.job} has no good record with all "
                        "its files to start from"
                    )
                continue
            source = found.get(launch.block, next(iter(found.values())))
            own = stored.records.get(cell.id, source)
            premises = [one for one in own.premises if one.state != "disproved"]
            records[cell.id] = source.model_copy(
                update={
                    "cell": cell.id,
                    "launch": launch.id,
                    "arm": launch.arm,
                    "layout": LayoutKey.model_validate(launch.layout.model_dump()),
                    "block": launch.block,
                    "premises": premises,
                    "runs": [],
                    "metrics": _quiet(stored.plan, source, found),
                }
            )
            copied[cell.id] = source.cell
    facts = dict(stored.facts)
    if facts:
        first = next(iter(facts.values()))
        facts = {launch.id: first for launch in stored.plan.launches if not launch.unsupported}
    return replace(
        stored,
        records=records,
        answers=_copied(stored.answers, copied),
        trails=_copied(stored.trails, copied),
        facts=facts,
    )


def _copied(kept: Mapping[str, _T], sources: Mapping[str, str]) -> dict[str, _T]:
    """What is kept of cells, each cell with that of its source."""
    of_sources = {cell: kept[one] for cell, one in sources.items() if one in kept}
    return {**kept, **of_sources}


def _sources(stored: Stored, job: str) -> Mapping[int, Record]:
    """One good record of a job by block, of one arm and layout if any has all."""
    best: dict[int, Record] = {}
    for place in places(stored.plan):
        found = {
            record.block: record
            for cell in stored.cells(place, job)
            if (record := stored.records.get(cell)) is not None and _good(stored, record)
        }
        if len(found) > len(best):
            best = found
    return best


def _good(stored: Stored, record: Record) -> bool:
    if record.status is not Status.OK or unfit(record) is not None or "stopped" in record.details:
        return False
    kept = {"accuracy": stored.answers, "logprobs": stored.trails}.get(record.kind)
    return kept is None or bool(kept.get(record.cell))


def _quiet(plan: Plan, record: Record, beside: Mapping[int, Record]) -> dict[str, float]:
    """A record's numbers, each gated speed drawn to the mean of the job's records."""
    made = dict(record.metrics)
    for name, gate in plan.gates.get(record.job, {}).items():
        values = [one.metrics.get(name, 0.0) for one in beside.values()]
        if asks(name) or not all(isfinite(value) and value > 0 for value in values):
            continue
        mean = fmean(map(log, values))
        most = max(abs(log(value) - mean) for value in values)
        share = min(1.0, _KEPT_NOISE * gate.margin / most) if most > 0 else 0.0
        made[name] = exp(mean + share * (log(record.metrics[name]) - mean))
    return {name: value for name, value in made.items() if name in METRICS}
