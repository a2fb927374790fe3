"""Buying launches: which comparisons of speed need another block, and what may be said after it.

What is needed follows from the plan and the records alone, the same before a block is run and when
the run is judged. So a launch that was not needed is told from one that is missing without trusting
anybody's notes, and deleting the records of a launch that was bought makes it missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pipeline.experiment.comparisons import speed_alarms
from pipeline.experiment.gates import Gate
from pipeline.gate import slow_mode, speed
from pipeline.gate.comparable import undeclared
from pipeline.gate.evidence import Evidence, Key, asks, collect
from pipeline.gate.model import Bought, Check, Verdict
from pipeline.plan.model import Launch, Place, Plan
from pipeline.records.facts import Facts
from pipeline.records.record import Record, Status
from pipeline.stats import LaunchDesign, launch_design

__all__ = [
    "Level",
    "bought",
    "design_of",
    "followed_jobs",
    "in_blocks",
    "level",
    "needed",
    "unneeded",
]


class Level(NamedTuple):
    """Error rates at which one comparison is judged after so many launches."""

    passing: float
    harm: float
    last: bool


def design_of(plan: Plan) -> LaunchDesign | None:
    """The looks of every gated speed that may buy launches; None where none may.

    All of them have the same looks, and share the alarms' alpha with every gate on a speed or a
    time (Bonferroni).
    """
    if plan.sequential is None:
        return None
    alarms = speed_alarms(plan.gates, layouts=len(plan.layouts), arms=len(plan.arms))
    return launch_design(
        plan.launches_per_arm, plan.sequential.max_launches, plan.alpha, alarms=alarms
    )


def followed_jobs(plan: Plan) -> list[str]:
    """Jobs that optional launches run: gated latency on every launch."""
    if plan.sequential is None:
        return []
    return [
        name
        for name, job in plan.jobs.items()
        if job["kind"] == "latency" and job.get("launches") is None and plan.gates.get(name)
    ]


def level(design: LaunchDesign, launches: int) -> Level:
    """At which error rates so many launches are judged."""
    look = design.look(launches)
    return Level(
        design.pass_levels[look], design.harm_levels[look], last=launches >= design.sizes[-1]
    )


def in_blocks(
    job: str, metric: str, sides: tuple[Evidence, Evidence], gate: Gate | None, design: LaunchDesign
) -> Check:
    """The ratio of a speed after as many blocks as the arm has, decided at that look's levels.

    Args:
        job: A job that optional launches run.
        metric: A speed.
        sides: Of the arm, and of the reference, which may have more blocks: others bought them.
        gate: Its gate; None: shown, at the same level.
        design: The looks.
    """
    arm, reference = sides[0], sides[1].in_blocks_of(sides[0])
    at = level(design, len(arm.records))
    check = speed.against_reference(job, metric, arm, reference, gate, at.passing)
    if gate is None or check.verdict is not None:
        return check
    assert check.p_worse is not None
    assert check.p_better is not None
    made = speed.decide_ratio(
        check,
        check.p_worse,
        check.p_better,
        at.harm,
        passing=at.passing,
        established=f"below {at.harm:.2g}, what this look may use",
    )
    looks = [size for size in design.sizes if size < len(arm.records)]
    made = slow_mode.held_back(made, arm, reference, looks)
    if made.verdict is Verdict.INCONCLUSIVE:
        more = "the cap of sequential.max_launches" if at.last else "another block may be bought"
        made = made.model_copy(update={"reason": f"{made.reason}; {more}"})
    told = f"look at {check.n} of at most {design.sizes[-1]} launches, error rate {at.passing:.2g}"
    return made.model_copy(update={"method": f"{made.method}; {told}", "p_worse_adjusted": None})


def needed(
    plan: Plan, records: Sequence[Record], facts: Mapping[str, Facts], block: int
) -> frozenset[Place]:
    """The arms that an optional block must run, by layout; with the reference of each.

    An arm needs it while a gated speed of it is undecided after every block before, and none has
    regressed: then more launches would change nothing. Undecided is also what would pass but for a
    slow launch of its own: more of them show whether it comes again. One that lacks a record needs
    repair, not more launches.

    Args:
        plan: The whole plan.
        records: Those that exist.
        facts: What each launch ran with, by its id, as far as known.
        block: An optional block.
    """
    arms = frozenset(
        (layout, arm.name)
        for layout in plan.layouts
        for arm in plan.arms
        if arm.name != plan.reference
    )
    differing = undeclared(plan, facts, {r.launch for r in records if r.status is Status.OK})
    for before in range(plan.launches_per_arm, block + 1):
        if not arms:
            return frozenset()
        evidence = _until(plan, records, before)
        arms = frozenset(
            place
            for place in arms
            if not (differing.get(place) or differing.get((place[0], plan.reference)))
            and _open(plan, place, evidence)
        )
    return arms | {(layout, plan.reference) for layout, _ in arms}


def _until(plan: Plan, records: Sequence[Record], block: int) -> Mapping[Key, Evidence]:
    """Evidence of the followed jobs from the blocks before this one."""
    jobs = followed_jobs(plan)
    launches = [
        launch.model_copy(update={"cells": [cell for cell in launch.cells if cell.job in jobs]})
        for launch in plan.launches
        if launch.block < block
    ]
    part = plan.model_copy(update={"launches": launches})
    return collect(part, records, lambda _record: (), lambda _record: ())


def _open(plan: Plan, place: Place, evidence: Mapping[Key, Evidence]) -> bool:
    design = design_of(plan)
    assert design is not None
    layout, arm = place
    verdicts = [
        in_blocks(
            job,
            metric,
            (evidence[layout, arm, job], evidence[layout, plan.reference, job]),
            gate,
            design,
        ).verdict
        for job in followed_jobs(plan)
        if (layout, arm, job) in evidence and (layout, plan.reference, job) in evidence
        for metric, gate in plan.gates.get(job, {}).items()
        if not asks(metric)
    ]
    over = Verdict.REGRESSED in verdicts or Verdict.MISSING in verdicts
    return not over and Verdict.INCONCLUSIVE in verdicts


def unneeded(plan: Plan, records: Sequence[Record], facts: Mapping[str, Facts]) -> list[Launch]:
    """Optional launches that nothing needed and that have no record: not missing, not run."""
    run = {record.launch for record in records}
    found: list[Launch] = []
    wanted: dict[int, frozenset[Place]] = {}
    for launch in plan.launches:
        if not launch.optional or launch.id in run:
            continue
        if launch.block not in wanted:
            wanted[launch.block] = needed(plan, records, facts, launch.block)
        if (launch.layout, launch.arm) not in wanted[launch.block]:
            found.append(launch)
    return found


def bought(plan: Plan, left_out: Collection[Launch]) -> list[Bought]:
    """How many launches each arm on each layout got beyond the planned ones."""
    skipped = {launch.id for launch in left_out}
    made: dict[Place, list[bool]] = {}
    for launch in plan.launches:
        if launch.optional:
            made.setdefault((launch.layout, launch.arm), []).append(launch.id not in skipped)
    return [
        Bought(layout=layout, arm=arm, launches=sum(took), possible=len(took))
        for (layout, arm), took in made.items()
    ]
