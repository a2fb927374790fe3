"""Which gains may be claimed: those against every baseline, and above what is noise."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.gate import baselines, noise, sequential
from pipeline.gate.evidence import Evidence, Key, Place
from pipeline.gate.model import Check, NoiseFloor
from pipeline.plan import Plan

__all__ = ["claimed"]


def claimed(
    plan: Plan,
    checks: Mapping[Place, list[Check]],
    evidence: Mapping[Key, Evidence],
    alarms: int,
) -> tuple[dict[Place, list[Check]], list[NoiseFloor]]:
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

    made: dict[Place, list[Check]] = {}
    for (layout, arm), own in checks.items():
        every = [*own, *baselines.against_baselines(plan, layout, arm, evidence)]
        every = baselines.better_than_all(every, allowed)
        made[layout, arm] = noise.above_floor(layout, every, floors)
    return made, floors
