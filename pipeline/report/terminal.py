"""The verdict for a terminal: a table, and below it why a row is no pass."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from evals.metrics import METRICS
from pipeline.gate.model import Check, Judgement, Row, Verdict
from pipeline.gate.reach import gates_out_of_reach
from pipeline.report.tables import MARKS, closure_texts, records_text
from pipeline.report.text import estimate_text, value_text

__all__ = ["terminal_reasons", "terminal_table"]

_STYLES = {
    Verdict.PASS: "green",
    Verdict.REGRESSED: "bold red",
    Verdict.IMPROVED: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.MISSING: "magenta",
    Verdict.UNSUPPORTED: "dim",
}


def terminal_table(judgement: Judgement) -> Table:
    """One row a layout and arm: gated metrics, record status, verdict."""
    gated = list(
        dict.fromkeys(
            (check.job, check.metric)
            for row in judgement.rows
            for check in row.checks
            if check.gated and check.against == "reference"
        )
    )
    table = Table(title=None, show_lines=False, pad_edge=False)
    table.add_column("layout", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for job, metric in gated:
        table.add_column(f"{job}\n{METRICS[metric].label}", no_wrap=True)
    table.add_column("records")
    table.add_column("verdict", no_wrap=True)
    before = None
    for row in judgement.rows:
        if before is not None and before != row.layout:
            table.add_section()
        before = row.layout
        reference = "\n(reference)" if row.role == "reference" else ""
        style = _STYLES[row.verdict]
        table.add_row(
            str(row.layout),
            f"{escape(row.arm)}{reference}",
            *(escape(_cell(row, job, metric)) for job, metric in gated),
            escape(records_text(row)),
            f"[{style}]{MARKS[row.verdict]} {row.verdict.value}[/]",
        )
    return table


def _cell(row: Row, job: str, metric: str) -> str:
    value = next((m.value for m in row.measured if (m.job, m.metric) == (job, metric)), None)
    text = value_text(metric, value)
    check = _check(row, job, metric)
    if check is None or check.estimate is None:
        return text
    if value is None:
        return estimate_text(check)
    return f"{text}\n{estimate_text(check)}"


def _check(row: Row, job: str, metric: str) -> Check | None:
    for check in row.checks:
        if (check.job, check.metric, check.against) == (job, metric, "reference"):
            return check
    return None


def terminal_reasons(judgement: Judgement) -> list[str]:
    """One plain line for each row that is no pass, with its first reason; then what ITL is made of.

    Then the gates that could not fire, and how many launches were bought, where any could be.
    """
    why = [
        f"{row.arm} on {row.layout} {row.verdict.value}: {row.reasons[0]}"
        for row in judgement.rows
        if row.verdict is not Verdict.PASS and row.reasons
    ]
    return [
        *why,
        *closure_texts(judgement),
        *gates_out_of_reach(judgement),
        *_bought(judgement),
    ]


def _bought(judgement: Judgement) -> list[str]:
    if not judgement.bought:
        return []
    took = sum(one.launches for one in judgement.bought)
    possible = sum(one.possible for one in judgement.bought)
    return [f"launches bought while a gated speed was undecided: {took} of {possible} possible"]
