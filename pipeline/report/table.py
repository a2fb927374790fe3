"""The report's main table as data: one row a layout and arm, one column a job and metric."""

from __future__ import annotations

from dataclasses import dataclass

from evals.metrics import METRICS
from pipeline.gate.model import Check, Row, Verdict
from pipeline.gate.numerics import SHIFT
from pipeline.report.loads import swept_jobs
from pipeline.report.model import Report
from pipeline.report.numbers import bounds_text, estimate_text, value_text

__all__ = ["MARKS", "Column", "Line", "Slot", "columns", "lines", "records_text"]

# A verdict is never told by its colour alone.
MARKS = {
    Verdict.PASS: "✓",
    Verdict.REGRESSED: "✗",
    Verdict.IMPROVED: "▲",
    Verdict.INCONCLUSIVE: "?",
    Verdict.MISSING: "∅",
    Verdict.UNSUPPORTED: "⊘",
}

_COMPARED_AS = {"": "difference", "nats": "shift"}

# What the main table shows besides everything that is gated.
_SHOWN = ("score", "median_itl_ms", "median_ttft_ms", "output_throughput")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of one job."""

    job: str
    metric: str
    label: str
    compared_as: str


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What the table says of one metric of one row."""

    value: str
    interval: str
    compared: str
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table."""

    row: Row
    slots: list[Slot]
    records: str

    @property
    def layout(self) -> str:
        """The layout's name, to group by."""
        return str(self.row.layout)


def columns(report: Report) -> list[Column]:
    """Columns in the order of jobs and of the table of metrics.

    Points of a sweep have a table of their own, so only what is gated of them stands here, too.
    """
    rows = report.judgement.rows
    present = {(one.job, one.metric) for row in rows for one in row.measured}
    swept = {job for names in swept_jobs(report.plan) for job in names}
    gated = {(job, metric) for job, gates in report.plan.gates.items() for metric in gates}
    return [
        Column(
            job=job,
            metric=name,
            label=f"{job} {metric.label}",
            compared_as=_COMPARED_AS.get(metric.unit, "ratio"),
        )
        for job in report.plan.jobs
        for name, metric in METRICS.items()
        if (job, name) in gated
        or ((job, name) in present and name in _SHOWN and job not in swept)
        or (name == SHIFT and report.plan.jobs[job]["kind"] == "logprobs")
    ]


def lines(report: Report) -> list[Line]:
    """The table's rows, in the judgement's order."""
    wanted = columns(report)
    return [
        Line(
            row=row,
            slots=[_slot(row, column) for column in wanted],
            records=records_text(row),
        )
        for row in report.judgement.rows
    ]


def _slot(row: Row, column: Column) -> Slot:
    key = (column.job, column.metric)
    measured = next((one for one in row.measured if (one.job, one.metric) == key), None)
    check = _comparison(row, column)
    compared = check is not None and check.estimate is not None
    return Slot(
        # A shift has no value of its own, only one against the reference.
        value=""
        if measured is None and compared
        else value_text(column.metric, None if measured is None else measured.value),
        interval="" if measured is None else bounds_text(measured),
        compared="" if check is None or check.estimate is None else estimate_text(check),
        verdict=None if check is None else check.verdict,
    )


def _comparison(row: Row, column: Column) -> Check | None:
    for check in row.checks:
        if (check.job, check.metric, check.against) == (column.job, column.metric, "reference"):
            return check
    return None


def records_text(row: Row) -> str:
    """``4 of 4 ok``, and what the others are."""
    counts = row.records.counts
    rest = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "ok")
    text = f"{counts.get('ok', 0)} of {row.records.planned} ok"
    return f"{text}, {rest}" if rest else text
