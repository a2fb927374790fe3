"""How far apart two arms may look that are the same: the noise floor, from an arm run as A/A."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log

from pipeline.gate.model import Check, NoiseFloor, Verdict
from pipeline.gate.text import as_change
from pipeline.layout import LayoutKey
from pipeline.plan import ArmPlan, Plan

__all__ = ["above_floor", "noise_floors", "repeats", "repeats_reference"]


def repeats(arm: ArmPlan, other: ArmPlan) -> bool:
    """Whether two arms are one thing under two names."""
    names = {"args", "env", "plugins", "fake"}
    return arm.model_dump(include=names) == other.model_dump(include=names)


def repeats_reference(plan: Plan) -> list[str]:
    """Names of the arms that repeat the reference (A/A)."""
    reference = next(arm for arm in plan.arms if arm.name == plan.reference)
    return [arm.name for arm in plan.arms if arm is not reference and repeats(arm, reference)]


def noise_floors(layout: LayoutKey, arm: str, checks: Iterable[Check]) -> list[NoiseFloor]:
    """The floor of every speed of one layout, from the checks of an arm that repeats the reference.

    The floor is the bound of the A/A ratio that lies farther from 1: no smaller difference between
    two equal arms is excluded by the launches of this very run.
    """
    return [
        NoiseFloor(
            layout=layout,
            arm=arm,
            job=check.job,
            metric=check.metric,
            ratio=check.estimate,
            interval=check.interval,
            floor=exp(max(abs(log(bound)) for bound in check.interval)) - 1,
            launches=check.n,
        )
        for check in checks
        if check.measure == "ratio"
        and check.against == "reference"
        and check.estimate is not None
        and check.interval is not None
        and check.n is not None
    ]


def above_floor(
    layout: LayoutKey, checks: Sequence[Check], floors: Sequence[NoiseFloor]
) -> list[Check]:
    """Gains that are not larger than what equal arms may show are passes, and say so."""
    known = {(one.layout, one.job, one.metric): one for one in floors}
    return [_limited(check, known.get((layout, check.job, check.metric))) for check in checks]


def _limited(check: Check, floor: NoiseFloor | None) -> Check:
    if floor is None or check.verdict is not Verdict.IMPROVED or check.estimate is None:
        return check
    if abs(log(check.estimate)) > log(1 + floor.floor):
        return check
    reason = (
        f"{as_change(check.estimate)} is no gain to claim: the A/A arm {floor.arm} shows that "
        f"{100 * floor.floor:.3g} % may be noise; a loss beyond the margin is excluded"
    )
    return check.model_copy(update={"verdict": Verdict.PASS, "reason": reason})
