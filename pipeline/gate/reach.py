"""Gates that passed because nothing could have made them fire; pure."""

from __future__ import annotations

from evals.metrics import METRICS
from pipeline.gate.model import Check, Judgement, Row
from pipeline.stats.reach import out_of_reach

__all__ = ["gates_out_of_reach"]


def gates_out_of_reach(judgement: Judgement) -> list[str]:
    """One sentence for each gated score or rate of each arm that no result could have failed."""
    return [
        f"{check.job} {METRICS[check.metric].label} of {row.arm} on {row.layout}: this gate could "
        f"not fire: {why}."
        for row in judgement.rows
        for check in row.checks
        if check.gated and check.against == "reference" and (why := _why(judgement, row, check))
    ]


def _why(judgement: Judgement, row: Row, check: Check) -> str:
    if check.measure != "difference" or check.reference_value is None or check.n is None:
        return ""
    assert check.margin is not None
    higher_is_better = METRICS[check.metric].better == "higher"
    repeats = [
        one.repeats for one in row.measured if (one.job, one.metric) == (check.job, check.metric)
    ]
    return out_of_reach(
        check.reference_value if higher_is_better else 1 - check.reference_value,
        check.n,
        check.margin,
        judgement.alpha,
        comparisons=judgement.alarms.get("accuracy", 1),
        repeats=next((count for count in repeats if count is not None), 1),
    )
