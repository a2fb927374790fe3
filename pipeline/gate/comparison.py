"""How every comparison with the reference arm begins: is there something to compare at all?"""

from __future__ import annotations

from typing import Literal

from pipeline.gate.evidence import Evidence, incomparable
from pipeline.gate.model import Check, Verdict
from pipeline.spec.gates import Gate

__all__ = ["begin", "missing"]


def begin(
    job: str,
    metric: str,
    measure: Literal["difference", "ratio", "shift"],
    arm: Evidence,
    reference: Evidence,
    gate: Gate | None,
) -> tuple[Check, str]:
    """An undecided check, and why nothing can be compared; "" if it can."""
    check = Check(
        job=job,
        metric=metric,
        against="reference",
        gated=gate is not None,
        measure=measure,
        margin=None if gate is None else gate.margin,
    )
    if gap := arm.gap_of(metric):
        return check, gap
    if gap := reference.gap_of(metric):
        return check, f"the reference: {gap}"
    if differs := next((side.differs for side in (arm, reference) if side.differs), ""):
        return check, f"not comparable: {differs}"
    return check, incomparable(arm, reference, metric)


def missing(check: Check, gap: str) -> Check:
    """The check, missing for this reason; without a verdict where no gate asks for one."""
    verdict = Verdict.MISSING if check.gated else None
    return check.model_copy(update={"verdict": verdict, "reason": gap})
