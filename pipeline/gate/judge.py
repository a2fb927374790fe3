"""From the records of a run to its judgement, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from math import log

from evals.metrics import METRICS, is_fraction
from pipeline.experiment.gates import Gate
from pipeline.gate import accuracy, extra_launches, logprobs, proof, quarantine, slow_mode, speed
from pipeline.gate.comparable import undeclared
from pipeline.gate.evidence import (
    Answers,
    Evidence,
    Key,
    Trails,
    asks,
    collect,
)
from pipeline.gate.gains import claimed
from pipeline.gate.itl_breakdown import closures, warnings
from pipeline.gate.model import EXIT_CODES, Check, Judgement, Row, Verdict, worst
from pipeline.gate.multiplicity import decided
from pipeline.gate.rows import make_row
from pipeline.gate.staged import asked_in_stages
from pipeline.plan.equal_arms import with_resolved_repeats
from pipeline.plan.model import LayoutKey, Place, Plan, by_place
from pipeline.records.facts import Facts
from pipeline.records.record import Record, Status

# How many rows a headline names; the table has them all.
_NAMED = 4
# Launches of one arm that are this many margins apart, on the log scale, make a margin pointless.
_MANY_MARGINS = 4.0
# What a headline has room for of a reason; the record has all of it.
_LONGEST = 160


def headline(
    plan: Plan, made: Sequence[Row], records: Iterable[Record] = ()
) -> tuple[Verdict, str]:
    """The worst verdict of the rows that count, or missing where nothing was compared; and why.

    What traces were taken for and did not give is said here, too, whatever the verdict, and where
    launches of one arm lie too far apart for its margin.
    """
    verdict, reason = _verdict(plan, made)
    apart = list(_far_apart(plan, made))
    if apart:
        more = f" (and {len(apart) - 1} more)" if len(apart) > 1 else ""
        reason += f"; this machine is too busy for this margin: {apart[0]}{more}"
    return verdict, reason + _untimed(plan, records)


def _far_apart(plan: Plan, made: Sequence[Row]) -> Iterator[str]:
    """Gated speeds of which the launches of one arm differ by many margins."""
    for row in made:
        for measured in row.measured:
            gate = plan.gates.get(measured.job, {}).get(measured.metric)
            values = [launch.value for launch in measured.launches]
            if gate is None or asks(measured.metric) or len(values) < 2 or min(values) <= 0:
                continue
            if log(max(values) / min(values)) <= _MANY_MARGINS * log(1 + gate.margin):
                continue
            metric = METRICS[measured.metric]
            yield (
                f"{measured.job} {metric.label} of {row.arm} on {row.layout} is "
                f"{min(values):.4g} to {max(values):.4g} {metric.unit} over its "
                f"{len(values)} launches, and the margin {100 * gate.margin:.3g} %"
            )


def _untimed(plan: Plan, records: Iterable[Record]) -> str:
    """Traces without the time of communication that they were taken for; "" where all have it.

    On a CPU no trace has one, which an experiment's device says before it runs.
    """
    traced = [one for one in records if one.kind == "comm-kernels"]
    reasons = [why for one in traced if (why := _untimed_why(one))]
    if plan.device == "cpu" or not reasons:
        return ""
    first = " ".join(reasons[0].split())
    shown = first if len(first) <= _LONGEST else f"{first[:_LONGEST].rsplit(' ', 1)[0]} ..."
    return (
        f"; no communication time without imbalance from {len(reasons)} of {len(traced)} traced "
        f"launches: {shown}"
    )


def _untimed_why(record: Record) -> str:
    if record.status is Status.OK:
        return str(record.details.get("times", {}).get("refused", ""))
    return "" if record.status is Status.UNSUPPORTED else record.reason


def _verdict(plan: Plan, made: Sequence[Row]) -> tuple[Verdict, str]:
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
    beside += slow_mode.told_of(plan, judged)
    places = [f"{row.arm} on {row.layout}" for row in judged if row.verdict is verdict]
    count = len(places)
    where = ", ".join(places[:_NAMED])
    if count > _NAMED:
        where += f" and {count - _NAMED} more"
    if verdict is Verdict.PASS:
        return verdict, f"all {count} rows pass{beside}"
    return verdict, f"{count} of {len(made)} rows {verdict.value}: {where}{beside}"


def checks_of(plan: Plan, place: Place, evidence: Mapping[Key, Evidence]) -> list[Check]:
    """Every check of one arm on one layout; some are still open, until all are known together."""
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
    design = extra_launches.design_of(plan) if job in extra_launches.followed_jobs(plan) else None
    seen = {name for record in side.records for name in record.metrics} & METRICS.keys()
    made: list[Check] = []
    for name in METRICS:
        gate = gates.get(name)
        if not _judged(name) or (gate is None and name not in seen):
            continue
        if gate is not None and is_fraction(name) and asked_in_stages(plan, job):
            made.append(accuracy.in_stages(plan, job, name, side, reference, gate))
            continue
        if design is not None and not is_fraction(name):
            made.append(extra_launches.in_blocks(job, name, (side, reference), gate, design))
            continue
        against = accuracy.against_reference if is_fraction(name) else speed.against_reference
        made.append(against(job, name, side, reference, gate, plan.alpha))
    if plan.jobs[job]["kind"] == "logprobs":
        made.append(
            logprobs.against_reference(job, side, reference, gates.get(logprobs.SHIFT), plan.alpha)
        )
    return made


def _judged(metric: str) -> bool:
    """Whether a metric is compared by its records' values; a shift is, by position."""
    return METRICS[metric].better != "neither" and METRICS[metric].compared_as != "shift"


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
            :class:`pipeline.records.record.RecordError`, which makes the record missing.
        facts: What each launch ran with, by its id; empty: the run kept none, so that nothing but
            what its records say is known.
        trails: Gives the log-probabilities of a record of a logprobs job; as `answers`.
        today: The day by which quarantines hold or have lapsed; None: that of the last record.
    """
    found = list(records)
    plan = with_resolved_repeats(plan, facts)
    day = quarantine.last_day(found) if today is None else today
    left_out = extra_launches.unneeded(plan, found, facts)
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
    checks = {place: checks_of(plan, place, evidence) for place in places}
    checks, alarms = decided(plan, checks)
    checks = slow_mode.held(plan, checks, evidence)
    records_at, launches_at = by_place(found), by_place(plan.launches)
    invalid = {place: proof.broken(records_at[place]) for place in places}
    checks = {
        (layout, arm): proof.take_back(made, invalid[layout, arm], invalid[layout, plan.reference])
        for (layout, arm), made in checks.items()
    }
    checks, floors = claimed(plan, checks, evidence, alarms.get("speed", 0))
    jobs_at: defaultdict[Place, dict[str, Evidence]] = defaultdict(dict)
    for (layout, arm, job), side in evidence.items():
        jobs_at[layout, arm][job] = side
    made_of = closures(plan, found)
    made: list[Row] = []
    broken: dict[LayoutKey, bool] = {}
    for place in places:
        row = make_row(
            plan,
            place,
            checks[place],
            jobs_at[place],
            launches_at[place],
            records_at[place],
            day,
            broken=broken.get(place[0]),
            warned=warnings(made_of, *place),
        )
        if row.role == "reference":
            broken[place[0]] = row.verdict is Verdict.REGRESSED
        made.append(row)
    verdict, reason = headline(plan, made, found)
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
        bought=extra_launches.bought(possible, left_out),
        rows=made,
    )
