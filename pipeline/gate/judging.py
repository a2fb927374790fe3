"""From the records of a run to its judgement, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date

from pipeline.facts import Facts
from pipeline.gate import proof, quarantine, sequential
from pipeline.gate.checks import checks_of
from pipeline.gate.claims import claimed
from pipeline.gate.closures import closures, warnings
from pipeline.gate.comparable import undeclared
from pipeline.gate.evidence import Answers, Trails, collect
from pipeline.gate.families import decided
from pipeline.gate.headline import headline
from pipeline.gate.make_row import make_row
from pipeline.gate.model import EXIT_CODES, Judgement, Row, Verdict
from pipeline.layout import LayoutKey
from pipeline.plan import Plan
from pipeline.records import Record, Status

__all__ = ["judge"]


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
    checks = {place: checks_of(plan, place, evidence) for place in places}
    checks, alarms = decided(plan, checks)
    invalid = {
        place: proof.broken(r for r in found if (r.layout, r.arm) == place) for place in places
    }
    checks = {
        (layout, arm): proof.take_back(made, invalid[layout, arm], invalid[layout, plan.reference])
        for (layout, arm), made in checks.items()
    }
    checks, floors = claimed(plan, checks, evidence, alarms.get("speed", 0))
    by_cell = {record.cell: record for record in found}
    made_of = closures(plan, found)
    made: list[Row] = []
    broken: dict[LayoutKey, bool] = {}
    for place in places:
        row = make_row(
            plan, place, checks[place], evidence, by_cell, day,
            broken=broken.get(place[0]), warned=warnings(made_of, *place),
        )  # fmt: skip
        if row.role == "reference":
            broken[place[0]] = row.verdict is Verdict.REGRESSED
        made.append(row)
    verdict, reason = headline(plan, made)
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
