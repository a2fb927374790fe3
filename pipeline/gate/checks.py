"""Which checks an arm on a layout is given: by metric and job, and for the reference by layout."""

from __future__ import annotations

from collections.abc import Mapping

from evals.metrics import METRICS
from pipeline.gate import accuracy, numerics, sequential, speed
from pipeline.gate.evidence import Evidence, Key, Place, is_fraction
from pipeline.gate.model import Check
from pipeline.gate.staged import asked_in_stages
from pipeline.layout import LayoutKey
from pipeline.plan import Plan
from pipeline.spec.gates import Gate

__all__ = ["checks_of"]


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
    design = sequential.design_of(plan) if job in sequential.followed_jobs(plan) else None
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
            made.append(sequential.in_blocks(job, name, (side, reference), gate, design))
            continue
        against = accuracy.against_reference if is_fraction(name) else speed.against_reference
        made.append(against(job, name, side, reference, gate, plan.alpha))
    if plan.jobs[job]["kind"] == "logprobs":
        made.append(
            numerics.against_reference(job, side, reference, gates.get(numerics.SHIFT), plan.alpha)
        )
    return made


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
