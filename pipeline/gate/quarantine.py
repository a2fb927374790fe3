"""Known-bad cells that are set aside for a while: shown, out of the verdict, and back in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase

from pipeline.experiment.quarantine import Quarantine
from pipeline.gate.model import Check, RecordProblem, RecordSummary
from pipeline.plan.model import Launch, LayoutKey, Plan
from pipeline.records.record import Record

__all__ = ["active", "last_day", "marked", "notes", "of_row", "sets_aside", "without"]


def last_day(records: Iterable[Record]) -> date | None:
    """The UTC day on which the last record ended: the day of a judgement, whenever it is made.

    None without records. A report must stay the same to the byte, so no clock is asked.
    """
    ends = [datetime.fromisoformat(r.ended_at).astimezone(UTC) for r in records if r.ended_at]
    return max(ends).date() if ends else None


def _at(plan: Plan, layout: LayoutKey, arm: str) -> list[Quarantine]:
    return [
        one
        for one in plan.quarantine
        if fnmatchcase(str(layout), one.layout) and fnmatchcase(arm, one.arm)
    ]


def active(plan: Plan, layout: LayoutKey, arm: str, today: date | None) -> list[Quarantine]:
    """Those of one row that hold on a day; without a day none does."""
    if today is None:
        return []
    return [one for one in _at(plan, layout, arm) if one.since <= today <= one.until]


def notes(plan: Plan, layout: LayoutKey, arm: str, today: date | None) -> list[str]:
    """What a report says of every quarantine of a row, those that lapsed and count again too."""
    found = []
    for one in _at(plan, layout, arm):
        what = "" if one.whole_row else f" ({one.job} {one.metric})"
        if today is not None and today > one.until:
            found.append(
                f"quarantine{what} lapsed on {one.until}, so this counts again; owner "
                f"{one.owner}: {one.note}"
            )
        elif today is not None and today >= one.since:
            found.append(told(one))
    return found


def told(one: Quarantine) -> str:
    """One quarantine in one sentence."""
    what = "" if one.whole_row else f" ({one.job} {one.metric})"
    return f"quarantined{what} until {one.until}, owner {one.owner}: {one.note}"


def sets_aside(found: Sequence[Quarantine], job: str, metric: str) -> str:
    """The quarantine that a gate is in, as a sentence; "" if it counts."""
    return next((told(one) for one in found if one.covers(job, metric)), "")


def marked(checks: Sequence[Check], found: Sequence[Quarantine]) -> list[Check]:
    """Checks with what sets them aside; their verdicts stay, to be seen."""
    return [
        check.model_copy(update={"quarantine": sets_aside(found, check.job, check.metric)})
        for check in checks
    ]


def without(
    summary: RecordSummary, found: Sequence[Quarantine], launches: Iterable[Launch]
) -> RecordSummary:
    """A row's summary without problems of cells whose whole job is set aside.

    Args:
        summary: Of one row.
        found: The quarantines that hold for it.
        launches: Those of the row.
    """
    if not found:
        return summary
    jobs = {cell.id: cell.job for launch in launches for cell in launch.cells}

    def counts(problem: RecordProblem) -> bool:
        job = jobs[problem.cell]
        return not any(one.metric == "*" and fnmatchcase(job, one.job) for one in found)

    return summary.model_copy(update={"problems": [p for p in summary.problems if counts(p)]})


def of_row(checks: Sequence[Check], found: Sequence[Quarantine]) -> str:
    """Why a whole row takes no part in the verdict; "" if it does.

    A row of which every gated check is set aside has nothing left that could pass.
    """
    whole = next((told(one) for one in found if one.whole_row), "")
    if whole:
        return whole
    gated = [check for check in checks if check.gated]
    aside = [check.quarantine for check in gated if check.quarantine]
    return aside[0] if aside and len(aside) == len(gated) else ""
