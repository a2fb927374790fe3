"""The verdict of a whole run, and the one sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.gate.model import Row, Verdict, worst
from pipeline.plan import Plan

__all__ = ["headline"]

# How many rows a headline names; the table has them all.
_NAMED = 4


def headline(plan: Plan, made: Sequence[Row]) -> tuple[Verdict, str]:
    """The worst verdict of the rows that count, or missing where nothing was compared; and why."""
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
