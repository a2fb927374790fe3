"""What can go wrong with a run, as pure changes of stored records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, TypeVar

from evals.job import Answer, Mark
from evals.logprobs.trails import Trail
from pipeline.plan.model import Launch
from pipeline.premises import Claims, served_path
from pipeline.premises import Evidence as PremiseEvidence
from pipeline.records.record import PremiseResult, Record, Status
from pipeline.selftest.stored import Place, Stored

__all__ = [
    "HARMFUL_MARK",
    "MORE_HURTS",
    "at_blocks",
    "changed",
    "disproved",
    "exchanged",
    "lost",
    "remarked",
    "scaled",
    "share_of",
    "shifted",
    "without_ranks",
]

_T = TypeVar("_T")

# What hurts a user, by the unit of what is measured, said a second time and from its meaning: the
# table of metrics cannot be tested against itself, and a flipped direction in it ("TPOT: maximize")
# is the very fault that must be found. Fractions are known by the mark that they count.
MORE_HURTS: dict[str, bool] = {
    "ms": True,
    "kernels": True,
    "nats": True,
    "tok/s": False,
    "req/s": False,
    "%": False,
}
HARMFUL_MARK: dict[str, Mark] = {
    "score": "wrong",
    "no_answer_rate": "no_answer",
    "truncated_rate": "truncated",
    "error_rate": "error",
}


def changed(stored: Stored, cells: Iterable[str], **changes: Any) -> Stored:  # noqa: ANN401
    """Fields of some records replaced."""
    return stored.with_records(
        {cell: stored.records[cell].model_copy(update=changes) for cell in cells}
    )


def scaled(stored: Stored, cells: Iterable[str], metric: str, factor: float) -> Stored:
    """A metric of some records times a factor."""
    return at_blocks(stored, cells, metric, lambda _block: factor)


def at_blocks(
    stored: Stored, cells: Iterable[str], metric: str, factor: Callable[[int], float]
) -> Stored:
    """A metric of some records times a factor of their block."""

    def one(record: Record) -> Record:
        metrics = {**record.metrics, metric: record.metrics[metric] * factor(record.block)}
        return record.model_copy(update={"metrics": metrics})

    return stored.with_records({cell: one(stored.records[cell]) for cell in cells})


def repeated(stored: Stored, times: int) -> Stored:
    """Every block so many times, one after another, as planned launches; speeds only."""
    launches: list[Launch] = []
    records = {}
    facts = {}
    blocks = 1 + max(launch.block for launch in stored.plan.launches)
    for time in range(times):
        for launch in stored.plan.launches:
            name = f"{launch.id}-{time}"
            block = launch.block + time * blocks
            cells = [c.model_copy(update={"id": f"{name}/{c.job}"}) for c in launch.cells]
            changes = {"id": name, "block": block, "cells": cells, "optional": False}
            launches.append(launch.model_copy(update=changes))
            if launch.id in stored.facts:
                facts[name] = stored.facts[launch.id]
            for old, new in zip(launch.cells, cells, strict=True):
                if old.id in stored.records:
                    changes = {"cell": new.id, "launch": name, "block": block}
                    records[new.id] = stored.records[old.id].model_copy(update=changes)
    plan = stored.plan.model_copy(
        update={
            "launches": launches,
            "launches_per_arm": stored.plan.launches_per_arm * times,
            "sequential": None,
        }
    )
    return replace(stored, plan=plan, records=records, facts=facts)


def remarked(
    stored: Stored, cells: Sequence[str], to: Mark, questions: int, *, of: Sequence[Mark]
) -> Stored:
    """The first questions that have one of some marks get another, in all their repeats.

    Args:
        stored: The run.
        cells: Whose answers.
        to: The mark that they get.
        questions: How many.
        of: Marks to take them from, in this order.
    """
    marks: dict[str, Mark] = {}
    for cell in cells:
        for answer in stored.answers[cell]:
            marks.setdefault(answer.id, answer.mark)
    chosen = [key for mark in of for key, own in marks.items() if own == mark][:questions]
    among = set(chosen)

    def one(answer: Answer) -> Answer:
        return answer.model_copy(update={"mark": to}) if answer.id in among else answer

    answers = {cell: [one(answer) for answer in stored.answers[cell]] for cell in cells}
    return replace(stored, answers={**stored.answers, **answers})


def shifted(
    stored: Stored, cells: Iterable[str], nats: float, *, other_token: bool = False
) -> Stored:
    """Log-probabilities of all decoded tokens lowered; or every text begun with another token."""

    def one(trail: Trail) -> Trail:
        lower = [value - nats for value in trail.logprobs]
        top = [[(token, value - nats) for token, value in step] for step in trail.top]
        tokens = [-1, *trail.tokens[1:]] if other_token else trail.tokens
        return trail.model_copy(update={"logprobs": lower, "top": top, "tokens": tokens})

    made = {cell: [one(trail) for trail in stored.trails[cell]] for cell in cells}
    return replace(stored, trails={**stored.trails, **made})


def lost(stored: Stored, cells: Iterable[str]) -> Stored:
    """Records without the files of answers and log-probabilities behind them."""
    gone = set(cells)
    return replace(
        stored, answers=_without(stored.answers, gone), trails=_without(stored.trails, gone)
    )


def _without(kept: Mapping[str, _T], gone: set[str]) -> dict[str, _T]:
    return {key: value for key, value in kept.items() if key not in gone}


def disproved(stored: Stored, cells: Iterable[str], *, noticed: bool) -> Stored:
    """Records whose arm was not what it claims; as a run marks them, or marked ok all the same."""
    detail = "the self-test says that another path ran"
    finding = PremiseResult(name="communication path", state="disproved", detail=detail)
    made: dict[str, Record] = {}
    for cell in cells:
        record = stored.records[cell]
        rest = [one for one in record.premises if one.name != finding.name]
        update: dict[str, object] = {"premises": [*rest, finding]}
        if noticed:
            told = f"{finding.name}: {detail}"
            update |= {"status": Status.INVALID, "failure_class": "premise", "reason": told}
        made[cell] = record.model_copy(update=update)
    return stored.with_records(made)


def without_ranks(stored: Stored, place: Place, missing: int) -> Stored:
    """The witness files of the last ranks lost, and the premise asked of what is left.

    Raises:
        KeyError: A launch at the place has no witness files.
    """
    made: dict[str, Record] = {}
    for launch in stored.plan.launches:
        if (launch.layout, launch.arm) != place:
            continue
        kept = list(stored.witnesses[launch.id])
        evidence = PremiseEvidence(
            server_info={}, environ={}, witnesses=kept[: len(kept) - missing]
        )
        finding = served_path(Claims.of(stored.plan, launch), evidence)
        for cell in launch.cells:
            record = stored.records[cell.id]
            rest = [one for one in record.premises if one.name != finding.name]
            update: dict[str, object] = {"premises": [*rest, finding]}
            if finding.state == "disproved":
                told = f"{finding.name}: {finding.detail}"
                update |= {"status": Status.INVALID, "failure_class": "premise", "reason": told}
            made[cell.id] = record.model_copy(update=update)
    return stored.with_records(made)


def exchanged(stored: Stored, one: Place, other: Place) -> Stored:
    """Two arms' measurements swapped, cell by cell: each is now reported as the other."""
    records, answers, trails = dict(stored.records), dict(stored.answers), dict(stored.trails)
    for job in stored.plan.jobs:
        for here, there in zip(stored.cells(one, job), stored.cells(other, job), strict=True):
            a, b = stored.records[here], stored.records[there]
            records[here] = a.model_copy(update={"metrics": b.metrics, "details": b.details})
            records[there] = b.model_copy(update={"metrics": a.metrics, "details": a.details})
            _swap(answers, here, there)
            _swap(trails, here, there)
    return replace(stored, records=records, answers=answers, trails=trails)


def _swap(kept: dict[str, _T], here: str, there: str) -> None:
    if here in kept and there in kept:
        kept[here], kept[there] = kept[there], kept[here]


def share_of(answers: Sequence[Answer], share: float) -> int:
    """So many of the questions that were asked, rounded up."""
    return ceil(share * len({answer.id for answer in answers}))
