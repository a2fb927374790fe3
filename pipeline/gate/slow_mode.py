"""Launches of an arm that lie apart by more than a margin: told, and never argued to a pass.

A test of the mean is not meant for an arm of which one launch in ten is slow: it passes where most
launches are fast. Such a launch that was seen is not argued away by others that were not slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log

from evals.metrics import METRICS
from pipeline.experiment.gates import Gate
from pipeline.gate.evidence import Evidence, Key, asks
from pipeline.gate.model import Check, Measured, Row, Verdict
from pipeline.plan.model import Place, Plan
from pipeline.stats.slow_mode import slow_launches

__all__ = ["held", "held_back", "spread_out", "told_of"]

# A list of more values than this is not read one by one.
_LISTED = 10


def held(
    plan: Plan, checks: Mapping[Place, list[Check]], evidence: Mapping[Key, Evidence]
) -> dict[Place, list[Check]]:
    """The checks, with no pass of a speed in which the arm shows slow launches of its own."""
    return {
        (layout, arm): [
            held_back(
                check, evidence[layout, arm, check.job], evidence[layout, plan.reference, check.job]
            )
            if check.measure == "ratio" and check.against == "reference"
            else check
            for check in own
        ]
        for (layout, arm), own in checks.items()
    }


def held_back(check: Check, arm: Evidence, reference: Evidence, looks: Iterable[int] = ()) -> Check:
    """A pass in which some launches lie apart to the worse is inconclusive.

    Args:
        check: A decided check of a speed against the reference.
        arm: The arm's launches.
        reference: The reference's, of the same blocks.
        looks: Numbers of launches after which more could be bought. Launches that are bought
            because of a slow one do not turn the check to a pass, so that all looks count.
    """
    if check.verdict not in (Verdict.PASS, Verdict.IMPROVED) or check.margin is None:
        return check
    metric, margin = METRICS[check.metric], check.margin
    sign = 1 if metric.better == "lower" else -1
    sides = [
        {
            block: sign * log(value)
            for block, value in sorted(side.launch_values(metric.name).items())
        }
        for side in (reference, arm)
    ]
    for look in [*looks, max(map(len, sides))]:
        theirs, own = ({block: side[block] for block in list(side)[:look]} for side in sides)
        slow = slow_launches(theirs, own, log(1 + margin) if sign > 0 else -log(1 - margin))
        if slow:
            values = list(arm.launch_values(metric.name).values())
            reason = (
                f"{len(slow)} of {len(own)} launches worse than all others of both arms by more "
                f"than {100 * margin:.3g} % ({_listed(values, metric.unit)}): a slow mode of this "
                "arm is not excluded, and more launches do not make it a pass"
            )
            return check.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": reason})
    return check


def spread_out(gates: Mapping[str, Mapping[str, Gate]], measured: Sequence[Measured]) -> list[str]:
    """Gated speeds of one arm whose launches differ by more than the margin, launch by launch.

    Args:
        gates: Of the experiment, by job and metric.
        measured: What the arm measured on one layout.
    """
    found: list[str] = []
    for one in measured:
        gate = gates.get(one.job, {}).get(one.metric)
        values = [launch.value for launch in one.launches]
        if gate is None or asks(one.metric) or len(values) < 2 or min(values) <= 0:
            continue
        if max(values) > min(values) * (1 + gate.margin):
            metric = METRICS[one.metric]
            found.append(f"{one.job} {metric.label} {_listed(values, metric.unit)}")
    return found


def told_of(plan: Plan, rows: Sequence[Row]) -> str:
    """What a headline says of launches that differ by more than the margin; "" if none do."""
    each: list[tuple[Row, list[str]]] = []
    for row in rows:
        aside = {(check.job, check.metric) for check in row.checks if check.quarantine}
        counted = [one for one in row.measured if (one.job, one.metric) not in aside]
        found = spread_out(plan.gates, counted)
        if found:
            each.append((row, found))
    if not each:
        return ""
    row, found = each[0]
    others = sum(len(more) for _, more in each) - 1
    more = f" (and {others} more, see the notes)" if others else ""
    return (
        f"; launches of {row.arm} on {row.layout} differ by more than the margin: {found[0]}{more}"
    )


def _listed(values: Sequence[float], unit: str) -> str:
    if len(values) > _LISTED:
        return f"{len(values)} launches from {min(values):.4g} to {max(values):.4g} {unit}"
    return f"{', '.join(f'{value:.4g}' for value in values)} {unit}"
