"""The nightly gate: what the accepted nights allow to say of tonight's arms; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evals.metrics import METRICS, is_fraction
from pipeline.gate.model import EXIT_CODES, Row, Verdict, worst
from pipeline.history.baselines import FIRM_PIN, Baselines
from pipeline.history.comparisons import by_nights, by_questions, by_scores, decided
from pipeline.history.fingerprint import changes, forbidden_changes, named
from pipeline.history.model import CellValue, Night, NightCheck, NightJudgement
from pipeline.history.night import Tonight
from pipeline.stats import holm

__all__ = ["ALARM", "OF_PROVISIONAL", "Rules", "check_name", "judge_night"]

ALARM = 0.0025
"""Two baselines, each with this chance of a false alarm a night. Half of what 1 % would leave: the
rest is spent by baselines of which worse nights were kept out."""

OF_PROVISIONAL = 0.6
"""Share of that chance while the pin is provisional: it may be the luckiest of many nights."""

_NAMED = 4

# A change of what nights run with that stays for so many nights parts them.
_LASTING = 3

MeansOf = Callable[[Night, CellValue], Mapping[str, float] | None]
"""Question means of a cell of an earlier night; None where its answers are not kept."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a night is judged.

    Attributes:
        alarm: Error rate of "regressed", a night and baseline, over all its checks (Holm).
        may_change: Of :data:`pipeline.history.fingerprint.MAY_CHANGE`, what is under test.
    """

    alarm: float = ALARM
    may_change: Sequence[str] = ()


def judge_night(
    tonight: Tonight, baselines: Baselines, means_of: MeansOf, rules: Rules
) -> NightJudgement:
    """Hold every gated metric of every arm against the pinned and the rolling baseline.

    Both must hold. What was gated in the pinned baseline and is not there tonight is missing, too.

    Args:
        tonight: The run.
        baselines: What it is held against.
        means_of: Gives answers of earlier nights.
        rules: Error rate, and what may change.
    """
    plan, night = tonight.report.plan, tonight.night
    checks: list[NightCheck] = []
    for name in ("pinned", "rolling"):
        own = [
            _check(tonight, baselines, cell, name, means_of, rules)
            for cell in _gated(tonight, baselines)
        ]
        checks += _after_holm(own, rules.alarm)
    checks += _gone(night, baselines)
    own_verdict = tonight.report.judgement.verdict
    compares = len(plan.arms) > 1 or any(
        gate.floor is not None for gates in plan.gates.values() for gate in gates.values()
    )
    against = worst(check.verdict for check in checks if not check.quarantine)
    verdict = worst([against, own_verdict]) if compares else against
    return NightJudgement(
        run=night.run,
        experiment=night.experiment,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        reason=_reason(checks, against, own_verdict if compares else None),
        own_verdict=own_verdict.value,
        alpha=rules.alarm,
        pin=baselines.pin,
        checks=checks,
    )


def check_name(check: NightCheck) -> str:
    """How a sentence calls a check."""
    metric = METRICS[check.metric].label
    name = f" {check.name}" if check.name else ""
    where = f"{check.arm} on {check.layout}: {check.job} {metric}"
    return f"{where} against the {check.baseline} baseline{name}"


def _gated(tonight: Tonight, baselines: Baselines) -> Iterator[CellValue]:
    """Tonight's gated cells, without rows that neither tonight nor the pinned night could run."""
    rows: dict[tuple[object, str], Row] = {
        (row.layout, row.arm): row for row in tonight.report.judgement.rows
    }
    for cell in tonight.night.cells:
        unsupported = rows[cell.layout, cell.arm].verdict is Verdict.UNSUPPORTED
        if unsupported and not any(_has_value(night, cell) for night in baselines.pinned):
            continue
        if cell.gated:
            yield cell


def _check(
    tonight: Tonight,
    baselines: Baselines,
    cell: CellValue,
    which: str,
    means_of: MeansOf,
    rules: Rules,
) -> NightCheck:
    pinned = which == "pinned"
    nights = baselines.pinned if pinned else baselines.rolling
    ratio = METRICS[cell.metric].compared_as == "ratio"
    check = NightCheck(
        layout=cell.layout,
        arm=cell.arm,
        job=cell.job,
        metric=cell.metric,
        baseline="pinned" if pinned else "rolling",
        name=baselines.pin if pinned else "",
        provisional=0 < len(baselines.pinned) < FIRM_PIN,
        quarantine=cell.quarantine,
        measure="ratio" if ratio else "difference",
        margin=tonight.report.plan.gates[cell.job][cell.metric].margin,
    )
    if cell.gap or cell.value is None:
        return _missing(check, cell.gap or "no value")
    if not nights:
        return _missing(check, _no_baseline(pinned=pinned))
    usable, why = _comparable(tonight.night, nights, cell, rules.may_change)
    if not usable or (pinned and len(usable) < len(nights)):
        return _missing(check, why)
    known = [night for night in usable if _has_value(night, cell)]
    if not known:
        return _missing(check, f"the {which} baseline has no value of it")
    check = check.model_copy(
        update={
            "nights": [night.run for night in known],
            "changed": _told(tonight.night, known[-1], cell, rules.may_change),
        }
    )
    return _compared(tonight, baselines, cell, check, known, means_of, rules)


def _compared(
    tonight: Tonight,
    baselines: Baselines,
    cell: CellValue,
    check: NightCheck,
    nights: Sequence[Night],
    means_of: MeansOf,
    rules: Rules,
) -> NightCheck:
    alpha = tonight.report.plan.alpha
    if not is_fraction(cell.metric):
        stretches = [
            part
            for stretch in baselines.stretches
            for part in _unchanged(
                _comparable(tonight.night, stretch, cell, rules.may_change)[0], cell
            )
        ]
        return by_nights(check, cell, nights, stretches, alpha, baselines.numbers)
    cells = [then for night in nights if (then := night.cell(cell.key)) is not None]
    kept = [means_of(night, then) for night, then in zip(nights, cells, strict=True)]
    answers = [means for means in kept if means]
    if not answers:
        return by_scores(check, cell, cells, alpha)
    own = tonight.means[(cell.layout, cell.arm, cell.job), cell.metric]
    return by_questions(check, own, answers, alpha)


def _unchanged(nights: Sequence[Night], cell: CellValue) -> Iterator[list[Night]]:
    """The nights, cut where what they ran with changed and then stayed for three nights or more.

    A change that comes with every night would else leave no two nights to learn a spread from.
    """
    runs: list[list[Night]] = []
    for night in nights:
        own = night.facts_of(cell.layout, cell.arm)
        then = runs[-1][-1].facts_of(cell.layout, cell.arm) if runs else None
        if own is None or then is None or changes(own, then, cell.job):
            runs.append([])
        runs[-1].append(night)
    part: list[Night] = []
    for run in runs:
        if min(len(part), len(run)) >= _LASTING:
            yield part
            part = []
        part = [*part, *run]
    if part:
        yield part


def _has_value(night: Night, cell: CellValue) -> bool:
    then = night.cell(cell.key)
    if then is None or then.value is None or then.quarantine:
        return False
    return is_fraction(cell.metric) or METRICS[cell.metric].compared_as == "shift" or then.value > 0


def _missing(check: NightCheck, reason: str) -> NightCheck:
    return check.model_copy(update={"verdict": Verdict.MISSING, "reason": reason})


def _no_baseline(*, pinned: bool) -> str:
    how = 'servegate accept RUN --pin NAME --reason "..."'
    if pinned:
        return f"no pinned baseline before tonight; make one: {how}"
    return f"no accepted night before tonight; begin with a pinned one: {how}"


def _comparable(
    tonight: Night, nights: Sequence[Night], cell: CellValue, may_change: Sequence[str]
) -> tuple[list[Night], str]:
    """Those of the nights that tonight may be held against; why not, of the last that may not."""
    now = tonight.facts_of(cell.layout, cell.arm)
    found: list[Night] = []
    why = "no night"
    for night in nights:
        then = night.facts_of(cell.layout, cell.arm)
        if now is None or now.gap:
            why = f"what it ran with is not known: {now.gap if now else 'nothing kept'}"
        elif then is None or then.gap:
            why = f"not comparable with {night.run}: {then.gap if then else 'no such arm there'}"
        elif differing := forbidden_changes(now, then, cell.job, may_change):
            why = f"not comparable with {night.run}, changed: {named(differing)}"
        else:
            found.append(night)
    return found, why


def _told(tonight: Night, then: Night, cell: CellValue, may_change: Sequence[str]) -> list[str]:
    one, other = (night.facts_of(cell.layout, cell.arm) for night in (tonight, then))
    if one is None or other is None:
        return []
    return changes(one, other, cell.job, fixed=may_change)


def _after_holm(checks: Sequence[NightCheck], alarm: float) -> list[NightCheck]:
    """Checks decided; those that are set aside are no part of the others' family."""
    made = list(checks)
    for aside in (False, True):
        family = [
            index
            for index, check in enumerate(checks)
            if check.estimate is not None and bool(check.quarantine) is aside
        ]
        worse = holm([_or_one(checks[index].p_worse) for index in family])
        better = holm([_or_one(checks[index].p_better) for index in family])
        for index, p_worse, p_better in zip(family, worse, better, strict=True):
            check = checks[index].model_copy(update={"p_better": p_better})
            allowed = alarm * (OF_PROVISIONAL if check.provisional else 1)
            made[index] = decided(check, p_worse, allowed).model_copy(
                update={"p_better": checks[index].p_better}
            )
    return made


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def _gone(tonight: Night, baselines: Baselines) -> list[NightCheck]:
    """What the pinned baseline gated and tonight does not: taken out of the experiment's file."""
    if not baselines.pinned:
        return []
    last = baselines.pinned[-1]
    there = {cell.key for cell in tonight.cells if cell.gated}
    return [
        NightCheck(
            layout=cell.layout,
            arm=cell.arm,
            job=cell.job,
            metric=cell.metric,
            baseline="pinned",
            name=baselines.pin,
            measure="difference" if is_fraction(cell.metric) else "ratio",
            baseline_value=cell.value,
            nights=[last.run],
            reason=f"gated in {last.run} and no longer; where that is meant, accept a "
            "run as a new pinned baseline",
        )
        for cell in last.cells
        if cell.gated and cell.key not in there
    ]


def _reason(checks: Sequence[NightCheck], against: Verdict, own: Verdict | None) -> str:
    counted = [check for check in checks if not check.quarantine]
    found = [check for check in counted if check.verdict is against]
    if not checks:
        told = "nothing is gated, so nothing was held against the accepted nights"
    elif not counted:
        told = "all that is gated is quarantined"
    elif against is Verdict.PASS:
        told = f"all {len(counted)} checks against the accepted nights pass"
    else:
        names = "; ".join(check_name(check) for check in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        told = f"{len(found)} of {len(counted)} checks {against.value}: {names}{more}"
    if aside := len(checks) - len(counted):
        told += f"; {aside} quarantined"
    if own is None or own in (Verdict.PASS, against):
        return told
    return f"{told}; the run's own gate: {own.value}"
