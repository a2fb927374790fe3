"""Every gated metric x {harm, gain, nothing, missing, invalid}: the cases of the matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, log

from evals.job import Mark
from evals.metrics import METRICS, is_fraction
from pipeline.experiment.gates import Gate
from pipeline.gate.evidence import (
    asks,
)
from pipeline.gate.model import Verdict
from pipeline.plan.model import Plan
from pipeline.selftest.injections import (
    HARMFUL_MARK,
    MORE_HURTS,
    changed,
    disproved,
    lost,
    remarked,
    scaled,
    share_of,
    shifted,
)
from pipeline.selftest.stored import COLUMNS, Case, Column, Expected, Place, Stored

__all__ = ["Gated", "gated", "harmed", "matrix", "narrowed", "proving", "unable"]

P, R, G, I, M, U = (  # noqa: E741 - a table reads best with one letter a verdict
    Verdict.PASS,
    Verdict.REGRESSED,
    Verdict.IMPROVED,
    Verdict.INCONCLUSIVE,
    Verdict.MISSING,
    Verdict.UNSUPPORTED,
)

Verdicts = tuple[Verdict, ...]

# Injected changes are this many margins large, and of answers at least these shares of all.
_MARGINS = 4.0
_SHARE = {"score": 0.4}
_SHARE_OF_A_RATE = 0.12
_LEAST_QUESTIONS = 12


@dataclass(frozen=True, kw_only=True)
class Gated:
    """One gate at one place."""

    job: str
    metric: str
    gate: Gate
    place: Place

    @property
    def factor(self) -> float:
        """A change of several margins, above 1."""
        return exp(-_MARGINS * log(1 - self.gate.margin))


def gated(plan: Plan, place: Place) -> list[Gated]:
    """All gates of a plan, at one place."""
    return [
        Gated(job=job, metric=metric, gate=gate, place=place)
        for job, gates in plan.gates.items()
        for metric, gate in gates.items()
    ]


def narrowed(stored: Stored, one: Gated, *more: Gated) -> Stored:
    """The run with these gates alone, without floors, and with the reference and one arm only.

    Numbers that they do not judge are left out of the records: hundreds of cases take seconds.
    """
    plan, place = stored.plan, one.place
    kept = {plan.reference, place.arm}
    gates: dict[str, dict[str, Gate]] = {}
    for each in (one, *more):
        own = each.gate.model_copy(update={"floor": None})
        gates.setdefault(each.job, {})[each.metric] = own
    launches = [launch for launch in plan.launches if launch.arm in kept]
    cells = {cell.id for launch in launches for cell in launch.cells}
    narrow = plan.model_copy(
        update={
            "arms": [arm for arm in plan.arms if arm.name in kept],
            "baselines": [],
            "launches": launches,
            "gates": gates,
            "require_proof": False,
        }
    )
    records = {
        cell: record.model_copy(
            update={
                "metrics": {
                    name: value
                    for name, value in record.metrics.items()
                    if name in gates.get(record.job, {})
                }
            }
        )
        for cell, record in stored.records.items()
        if cell in cells
    }
    return replace(stored, plan=narrow, records=records)


def harmed(stored: Stored, one: Gated, cells: Sequence[str], *, gain: bool = False) -> Stored:
    """A large harm to one metric of some cells; or a gain, which is the opposite."""
    if is_fraction(one.metric):
        return _answered(stored, one, cells, gain=gain)
    if asks(one.metric):
        return stored if gain else shifted(stored, cells, _MARGINS * one.gate.margin)
    more = MORE_HURTS[METRICS[one.metric].unit] is not gain
    return scaled(stored, cells, one.metric, one.factor if more else 1 / one.factor)


def _answered(stored: Stored, one: Gated, cells: Sequence[str], *, gain: bool) -> Stored:
    least = _SHARE.get(one.metric, _SHARE_OF_A_RATE)
    many = share_of(stored.answers[cells[0]], max(least, _MARGINS * one.gate.margin))
    to, of = HARMFUL_MARK[one.metric], _harmless(one.metric)
    if not gain:
        return remarked(stored, cells, to, many, of=of)
    return remarked(stored, cells, "correct" if one.metric == "score" else "wrong", many, of=(to,))


def _harmless(metric: str) -> tuple[Mark, ...]:
    return ("correct",) if metric == "score" else ("wrong", "correct")


def _injected(stored: Stored, one: Gated, column: Column) -> tuple[Stored, str]:
    cells = stored.cells(one.place, one.job)
    label = METRICS[one.metric].label
    match column:
        case "harm" | "gain":
            word = "worse" if column == "harm" else "better"
            return harmed(stored, one, cells, gain=column == "gain"), f"{label} made much {word}"
        case "nothing":
            return stored, "nothing: the arm repeats the reference"
        case "missing" if asks(one.metric):
            return lost(stored, cells[:1]), f"the file behind {label} lost in {cells[0]}"
        case "missing":
            metrics = stored.records[cells[0]].metrics
            rest = {name: value for name, value in metrics.items() if name != one.metric}
            return changed(stored, cells[:1], metrics=rest), f"{label} lost in {cells[0]}"
        case "invalid":
            return disproved(stored, cells[:1], noticed=True), f"{cells[0]} invalid: another path"


def _expected(stored: Stored, one: Gated, column: Column) -> Expected:
    fine: Verdicts = (P,) if stored.strict else (P, I)
    gain: Verdicts = (G,) if stored.strict else (G, P, I)
    if METRICS[one.metric].compared_as == "shift":
        gain = fine  # the best shift is none, which is no gain
    elif not asks(one.metric) and not proving(stored, one.place):
        gain = fine  # nothing shows that the answers are right
    of_column: dict[Column, Verdicts] = {
        "harm": (R,),
        "gain": gain,
        "nothing": fine,
        "missing": (M,),
        "invalid": (M,),
    }
    found = of_column[column]
    return Expected(check=found, row=found, run=found, others=(*fine, U))


def proving(stored: Stored, place: Place) -> tuple[Gated, ...]:
    """The first gate that tells right answers from wrong ones: no gain in speed counts without.

    Empty where the plan has none that is asked at once.
    """
    found = (
        one
        for one in gated(stored.plan, place)
        if METRICS[one.metric].compared_as == "shift"
        or (one.metric == "score" and stored.plan.jobs[one.job].get("stages", 1) == 1)
    )
    first = next(found, None)
    return () if first is None else (first,)


def unable(stored: Stored, one: Gated, column: Column) -> str:
    """Why this cell of the matrix cannot be made from these records; "" if it can."""
    cells = stored.cells(one.place, one.job)
    if not cells:
        return f"no launch of {one.place.arm} runs {one.job}"
    if is_fraction(one.metric):
        if column == "gain":
            bad = HARMFUL_MARK[one.metric]
            there = {a.id for a in stored.answers[cells[0]] if a.mark == bad}
            if len(there) < _LEAST_QUESTIONS:
                return f"only {len(there)} answers are {bad}, too few to take away"
        return ""
    if not asks(one.metric):
        values = [stored.records[cell].metrics.get(one.metric, 0.0) for cell in cells]
        if min(values) <= 0:
            return f"a record of {one.job} has no positive {METRICS[one.metric].label}"
    return ""


def matrix(stored: Stored, place: Place) -> Iterator[Case]:
    """The cases that these records allow, gate by gate.

    Args:
        stored: Levelled (:func:`pipeline.selftest.base.levelled`).
        place: The row that faults are injected into.
    """
    for one in gated(stored.plan, place):
        for column in COLUMNS:
            beside = proving(stored, place) if column == "gain" and not asks(one.metric) else ()
            narrow = narrowed(stored, one, *beside)
            if unable(narrow, one, column):
                continue
            made, injected = _injected(narrow, one, column)
            yield Case(
                name=column,
                column=column,
                job=one.job,
                metric=one.metric,
                place=place,
                stored=made,
                expected=_expected(narrow, one, column),
                injected=injected,
            )
