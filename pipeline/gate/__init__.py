"""The gate: what the records of a run allow to say of every arm on every layout; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from evals.metrics import METRICS
from pipeline.facts import Facts
from pipeline.gate import (
    accuracy,
    baselines,
    noise,
    numerics,
    proof,
    quarantine,
    rows,
    sequential,
    speed,
)
from pipeline.gate.closures import closures, warnings
from pipeline.gate.comparable import undeclared
from pipeline.gate.evidence import Answers, Evidence, Key, Trails, collect, is_fraction
from pipeline.gate.model import (
    EXIT_CODES,
    Check,
    Judgement,
    NoiseFloor,
    Proof,
    Row,
    Verdict,
    worst,
)
from pipeline.layout import LayoutKey
from pipeline.plan import Plan
from pipeline.records import Record, Status
from pipeline.spec import Gate, Quarantine
from pipeline.stats import holm

__all__ = ["Check", "Judgement", "Row", "Verdict", "judge"]

_Place = tuple[LayoutKey, str]

# How many rows a headline names; the table has them all.
_NAMED = 4


def judge(
    plan: Plan,
    records: Iterable[Record],
    answers: Answers,
    facts: Mapping[str, Facts],
    trails: Trails = lambda _record: (),
    today: date | None = None,
) -> Judgement:
    """Judge a run.

    Args:
        plan: What was to be run.
        records: What was; at most one a cell.
        answers: Gives the answers of a record of a job that asks questions; may raise
            :class:`pipeline.records.RecordError`, which makes the record missing.
        facts: What each launch ran with, by its id; empty: the run kept none, so that nothing but
            what its records say is known.
        trails: Gives the log-probabilities of a record of a logprobs job; as `answers`.
        today: The day by which quarantines hold or have lapsed; None: that of the last record.
    """
    found = list(records)
    day = quarantine.last_day(found) if today is None else today
    left_out = sequential.unneeded(plan, found, facts)
    possible, skipped = plan, {launch.id for launch in left_out}
    plan = plan.model_copy(
        update={"launches": [one for one in plan.launches if one.id not in skipped]}
    )
    differing = undeclared(plan, facts, {r.launch for r in found if r.status is Status.OK})
    evidence = {
        (layout, arm, job): replace(side, differs=differing.get((layout, arm), ""))
        for (layout, arm, job), side in collect(plan, found, answers, trails).items()
    }
    places = [
        (layout, arm)
        for layout in plan.layouts
        for arm in sorted((arm.name for arm in plan.arms), key=lambda name: name != plan.reference)
    ]
    checks = {place: _checks(plan, place, evidence) for place in places}
    checks, alarms = _decided(plan, checks)
    invalid = {
        place: proof.broken(r for r in found if (r.layout, r.arm) == place) for place in places
    }
    checks = {
        (layout, arm): proof.take_back(made, invalid[layout, arm], invalid[layout, plan.reference])
        for (layout, arm), made in checks.items()
    }
    checks, floors = _claimed(plan, checks, evidence, alarms.get("speed", 0))
    by_cell = {record.cell: record for record in found}
    made_of = closures(plan, found)
    made: list[Row] = []
    broken: dict[LayoutKey, bool] = {}
    for place in places:
        row = _row(
            plan, place, checks[place], evidence, by_cell, day,
            broken=broken.get(place[0]), warned=warnings(made_of, *place),
        )  # fmt: skip
        if row.role == "reference":
            broken[place[0]] = row.verdict is Verdict.REGRESSED
        made.append(row)
    verdict, reason = _overall(plan, made)
    return Judgement(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        reason=reason,
        alpha=plan.alpha,
        reference=plan.reference,
        alarms=alarms,
        facts_kept=bool(facts),
        noise=floors,
        closures=made_of,
        bought=sequential.bought(possible, left_out),
        rows=made,
    )


def _checks(plan: Plan, place: _Place, evidence: Mapping[Key, Evidence]) -> list[Check]:
    layout, arm = place
    made: list[Check] = []
    floors = sum(gate.floor is not None for gates in plan.gates.values() for gate in gates.values())
    floors *= len(plan.layouts) * len(plan.arms)
    for job in plan.jobs:
        side = evidence.get((layout, arm, job))
        gates = plan.gates.get(job, {})
        if side is None:
            continue
        if arm != plan.reference:
            made += _comparisons(plan, job, side, evidence[layout, plan.reference, job])
        for metric, gate in gates.items():
            if gate.floor is not None:
                made.append(
                    accuracy.against_floor(job, metric, side, gate, plan.alpha, checks=floors)
                )
            if arm == plan.reference and metric == "score":
                made += _layouts(plan, layout, job, gate, evidence)
    return made


def _comparisons(plan: Plan, job: str, side: Evidence, reference: Evidence) -> list[Check]:
    gates: Mapping[str, Gate] = plan.gates.get(job, {})
    design = sequential.design_of(plan) if job in sequential.followed_jobs(plan) else None
    seen = {name for record in side.records for name in record.metrics} & METRICS.keys()
    made: list[Check] = []
    for name in METRICS:
        gate = gates.get(name)
        if not _judged(name) or (gate is None and name not in seen):
            continue
        if gate is not None and is_fraction(name) and _staged(plan, job):
            made.append(accuracy.in_stages(plan, job, name, side, reference, gate))
            continue
        if design is not None and not is_fraction(name):
            made.append(sequential.in_blocks(job, name, (side, reference), gate, design))
            continue
        against = accuracy.against_reference if is_fraction(name) else speed.against_reference
        made.append(against(job, name, side, reference, gate, plan.alpha))
    if plan.jobs[job]["kind"] == "logprobs":
        made.append(
            numerics.against_reference(job, side, reference, gates.get(numerics.SHIFT), plan.alpha)
        )
    return made


def _rates(plan: Plan) -> int:
    """How many rates of answers are looked at without a gate, at most; at least 1."""
    rates = [name for name in METRICS if is_fraction(name) and name != "score"]
    jobs = len([job for job in plan.jobs.values() if job["kind"] == "accuracy"])
    return max(1, len(rates) * jobs * len(plan.layouts) * (len(plan.arms) - 1))


def _staged(plan: Plan, job: str) -> bool:
    return int(plan.jobs[job].get("stages", 1)) > 1


def _by_looks(plan: Plan, check: Check) -> bool:
    """Whether a check is decided at one of several looks, with an error rate of its own."""
    if is_fraction(check.metric):
        return _staged(plan, check.job)
    return check.job in sequential.followed_jobs(plan)


def _judged(metric: str) -> bool:
    """Whether a metric is compared by its records' values; a shift is, by position."""
    return METRICS[metric].better != "neither" and METRICS[metric].unit != "nats"


def _layouts(
    plan: Plan, layout: LayoutKey, job: str, gate: Gate, evidence: Mapping[Key, Evidence]
) -> list[Check]:
    others = {
        str(other): evidence[other, plan.reference, job]
        for other in plan.layouts
        if other != layout and (other, plan.reference, job) in evidence
    }
    own = evidence[layout, plan.reference, job]
    check = accuracy.against_layouts(job, "score", own, others, gate, plan.alpha)
    return [] if check is None else [check]


_FAMILIES = (("accuracy", accuracy.decide_difference), ("speed", speed.decide_ratio))


def _decided(
    plan: Plan, checks: Mapping[_Place, list[Check]]
) -> tuple[dict[_Place, list[Check]], dict[str, int]]:
    """Decide what is still open, with Holm's p-values over everything that can raise an alarm.

    What was asked in stages, or may buy launches, is decided already, each at its share of alpha
    (Bonferroni). Holm counts it as never rejected, so that all together keep to alpha.
    """
    result = {place: list(made) for place, made in checks.items()}
    alarms: dict[str, int] = {}
    for family, decide in _FAMILIES:
        at = [
            (place, index)
            for place, made in result.items()
            for index, check in enumerate(made)
            if check.gated
            and check.verdict is None
            and is_fraction(check.metric) == (family == "accuracy")
        ]
        # Decided already, each at its share of alpha.
        staged = sum(
            check.gated and check.against == "reference" and _by_looks(plan, check)
            for made in result.values()
            for check in made
            if is_fraction(check.metric) == (family == "accuracy")
        )
        worse = _adjusted([result[place][index].p_worse for place, index in at], staged)
        better = _adjusted([result[place][index].p_better for place, index in at], staged)
        for (place, index), p_worse, p_better in zip(at, worse, better, strict=True):
            result[place][index] = decide(result[place][index], p_worse, p_better, plan.alpha)
        alarms[family] = len(at) + staged
    return result, alarms


def _claimed(
    plan: Plan,
    checks: Mapping[_Place, list[Check]],
    evidence: Mapping[Key, Evidence],
    alarms: int,
) -> tuple[dict[_Place, list[Check]], list[NoiseFloor]]:
    """The checks with those against further baselines, and no gain that does not hold there.

    Nor one that is below what an arm that repeats the reference shows to be noise.
    """
    floors = [
        floor
        for arm in noise.repeats_reference(plan)
        for layout in plan.layouts
        for floor in noise.noise_floors(layout, arm, checks[layout, arm])
    ]
    design, followed = sequential.design_of(plan), sequential.followed_jobs(plan)

    def allowed(check: Check) -> float:
        if design is None or check.job not in followed or check.n is None:
            return plan.alpha / max(1, alarms)
        return sequential.level(design, check.n).harm

    made: dict[_Place, list[Check]] = {}
    for (layout, arm), own in checks.items():
        every = [*own, *baselines.against_baselines(plan, layout, arm, evidence)]
        every = baselines.better_than_all(every, allowed)
        made[layout, arm] = noise.above_floor(layout, every, floors)
    return made, floors


def _adjusted(p_values: Sequence[float | None], more: int) -> list[float]:
    """Holm over the comparisons that ask the question at all, and `more`; 1 for the others."""
    adjusted = iter(holm([*(p for p in p_values if p is not None), *[1.0] * more]))
    return [1.0 if p is None else next(adjusted) for p in p_values]


def _row(  # noqa: PLR0913 - one call site; each is another part of a row
    plan: Plan,
    place: _Place,
    checks: list[Check],
    evidence: Mapping[Key, Evidence],
    records: Mapping[str, Record],
    day: date | None,
    *,
    broken: bool | None,
    warned: Sequence[str],
) -> Row:
    layout, arm = place
    jobs = {job: side for (at, who, job), side in evidence.items() if (at, who) == place}
    reference = arm == plan.reference
    if not reference:
        checks = rows.hold_back(checks, broken_reference=broken is True)
    aside = quarantine.active(plan, layout, arm, day)
    marked = quarantine.marked(checks, aside)
    row_aside = quarantine.of_row(marked, aside)
    if row_aside:
        aside = []  # the whole row is out of the verdict, and its own says what was found
    else:
        checks = marked
    summary = rows.record_summary(plan, layout, arm, records)
    counting = quarantine.without(summary, aside)
    own = [r for r in records.values() if (r.layout, r.arm) == place]
    found = proof.premises(own)
    asked = proof.proof(found)
    gaps = [*_gate_gaps(plan, jobs, aside), *_proof_gaps(plan, asked)]
    verdict = rows.row_verdict(checks, counting, gaps)
    if reference and verdict is Verdict.MISSING and not (counting.problems or gaps or checks):
        # Nothing holds a reference against anything here, but all that the gates need is there.
        verdict = Verdict.PASS
    return Row(
        layout=layout,
        arm=arm,
        role="reference" if reference else "arm",
        notes=[
            *quarantine.notes(plan, layout, arm, day),
            *proof.notes(plan, layout, arm),
            *rows.signals(checks, plan.alpha, comparisons=_rates(plan)),
            *warned,
        ],
        verdict=verdict,
        reasons=rows.row_reasons(verdict, checks, counting, gaps),
        measured=rows.measured(jobs, plan.alpha),
        checks=checks,
        records=summary,
        proof=asked,
        premises=found,
        quarantine=row_aside,
    )


def _proof_gaps(plan: Plan, asked: Proof) -> list[str]:
    if not plan.require_proof:
        return []
    if not asked.asked:
        return ["proof is required, and no record says anything of what ran"]
    if asked.missing:
        return [f"proof is required, and missing for: {', '.join(asked.missing)}"]
    return []


def _gate_gaps(plan: Plan, jobs: Mapping[str, Evidence], aside: Sequence[Quarantine]) -> list[str]:
    """What the gates need and this arm has not, however its records look."""
    if not any(plan.gates.values()):
        return ["no gate is set, so nothing is judged"]
    gaps: list[str] = []
    for job, gates in plan.gates.items():
        if job not in jobs and gates:
            gaps.append(f"{job}: gated, but no launch of this arm runs it")
            continue
        gaps += [
            f"{job} {METRICS[metric].label}: {gap}"
            for metric in gates
            if not quarantine.sets_aside(aside, job, metric) and (gap := jobs[job].gap_of(metric))
        ]
    return gaps


def _overall(plan: Plan, made: list[Row]) -> tuple[Verdict, str]:
    counted = [row for row in made if not row.quarantine]
    judged = [row for row in counted if row.verdict is not Verdict.UNSUPPORTED]
    verdict = worst(row.verdict for row in judged)
    left_out = len(counted) - len(judged)
    aside = len(made) - len(counted)
    beside = f"; {left_out} unsupported on this machine" if left_out else ""
    beside += f"; {aside} quarantined" if aside else ""
    if aside and not any(row.role == "arm" for row in judged):
        return Verdict.MISSING, f"what is not quarantined holds no arm: nothing compared{beside}"
    floors = any(g.floor is not None for gates in plan.gates.values() for g in gates.values())
    if len(plan.arms) < 2 and not floors and verdict is Verdict.PASS:
        return Verdict.MISSING, "there is only the reference arm: nothing was compared"
    if not any(plan.gates.values()):
        return Verdict.MISSING, "no gate is set, so nothing is judged"
    if left_out and not any(row.role == "arm" for row in judged):
        return Verdict.MISSING, f"no arm but the reference can run here: nothing compared{beside}"
    places = [f"{row.arm} on {row.layout}" for row in judged if row.verdict is verdict]
    count = len(places)
    where = ", ".join(places[:_NAMED])
    if count > _NAMED:
        where += f" and {count - _NAMED} more"
    if verdict is Verdict.PASS:
        return verdict, f"all {count} rows pass{beside}"
    return verdict, f"{count} of {len(made)} rows {verdict.value}: {where}{beside}"
