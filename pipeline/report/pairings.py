"""The answers of every arm beside those of the reference, read from a run's cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from evals.job import Answer
from pipeline.compare.pairing import Pairing, pair, settings_diff
from pipeline.plan.model import LayoutKey, Plan
from pipeline.records.record import Record, RecordError, Status

__all__ = ["asking", "pairings"]

# Of a record's details: what may move a score, besides the settings of the job.
_TELLING = ("few_shot", "grader", "prompt", "questions_digest", "repeats", "sgl_eval")


def pairings(
    plan: Plan, records: Iterable[Record], answers: Callable[[Record], Sequence[Answer]]
) -> list[Pairing]:
    """Every arm against the reference on its layout, in each job that asks questions.

    Sides without a record that counts, and answers that cannot be read, are left out: the judgement
    says what is wrong with them.

    Args:
        plan: The run's plan.
        records: Its records.
        answers: Gives the answers of a record that count; may raise
            :class:`pipeline.records.record.RecordError`.
    """
    found = [r for r in records if r.status is Status.OK and r.kind == "accuracy"]
    made: list[Pairing] = []
    for job in plan.jobs:
        for layout in plan.layouts:
            sides = {
                arm.name: [r for r in found if (r.job, r.layout, r.arm) == (job, layout, arm.name)]
                for arm in plan.arms
            }
            made += _of_layout(plan, job, layout, sides, answers)
    return made


def _of_layout(
    plan: Plan,
    job: str,
    layout: LayoutKey,
    sides: Mapping[str, Sequence[Record]],
    answers: Callable[[Record], Sequence[Answer]],
) -> Iterator[Pairing]:
    reference = sides[plan.reference]
    given = _read(reference, answers)
    for arm, own in sides.items():
        if arm == plan.reference or not given or not (read := _read(own, answers)):
            continue
        asked = {answer.id for answer in read}
        stopped = any(record.details.get("stopped") for record in own)
        made = pair(
            [answer for answer in given if not stopped or answer.id in asked],
            read,
            alpha=plan.alpha,
            job=job,
            layout=str(layout),
            names=(plan.reference, arm),
        )
        if made is not None:
            more = {
                "settings": settings_diff(asking(reference[0]), asking(own[0])),
                "reference_in_flight": _in_flight(reference),
                "arm_in_flight": _in_flight(own),
            }
            yield made.model_copy(update=more)


def _read(records: Sequence[Record], answers: Callable[[Record], Sequence[Answer]]) -> list[Answer]:
    try:
        return [answer for record in records for answer in answers(record)]
    except RecordError:
        return []


def _in_flight(records: Sequence[Record]) -> float | None:
    found = [value for r in records if (value := r.details.get("in_flight")) is not None]
    return fmean(found) if found else None


def asking(record: Record) -> dict[str, Any]:
    """How a record's questions were asked and sampled, by name."""
    details = record.details
    return {
        **details.get("generation", {}),
        **{name: details[name] for name in _TELLING if name in details},
        "concurrency": details.get("concurrency"),
    }
