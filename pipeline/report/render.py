"""A report as HTML and as Markdown, from the templates beside this package."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from evals.metrics import METRICS
from pipeline.compare.text import excerpt
from pipeline.gate.model import Row
from pipeline.premises import PREMISES
from pipeline.report import text as numbers
from pipeline.report.charts import Chart, accuracy_chart, speed_chart
from pipeline.report.loads import load_tables
from pipeline.report.model import Report
from pipeline.report.tables import (
    MARKS,
    bought_text,
    closure_lines,
    columns,
    gain_lines,
    lines,
    noise_lines,
)

__all__ = ["flat", "render_html", "render_markdown", "render_published"]

_NONE = "\N{EN DASH}"

# Flips that a page shows of each pairing; flips.jsonl has them all.
_FLIPS, _FLIPS_MARKDOWN = 20, 5

# Terminal colours and other controls of a log mean nothing in a report.
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# Characters that would make Markdown or HTML of what is only text.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render_html(report: Report) -> str:
    """One self-contained page."""
    return _environment().get_template("report.html.j2").render(_context(report))


def render_markdown(report: Report) -> str:
    """The same without charts, for GitHub."""
    return _environment().get_template("report.md.j2").render(_context(report))


def render_published(told: dict[str, Any]) -> tuple[str, str]:
    """Published figures (:func:`pipeline.report.published.document`) as Markdown and as HTML."""
    environment = _environment()
    context = {"told": told, "arms": [*told["baselines"], told["candidate"]]}
    return (
        environment.get_template("published.md.j2").render(context),
        environment.get_template("published.html.j2").render(context),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = _markdown
    environment.filters["clean"] = _clean
    environment.filters["block"] = _block
    environment.filters["setting"] = _setting
    environment.filters["fence"] = _fence
    environment.filters["moment"] = _moment
    return environment


def _context(report: Report) -> dict[str, Any]:
    table = lines(report)
    return {
        "report": report,
        "plan": report.plan,
        "judgement": report.judgement,
        "columns": columns(report),
        "lines": table,
        # In the plan's order; jinja's own groupby would sort, and put DP 16 before DP 2.
        "groups": [(name, list(group)) for name, group in groupby(table, lambda one: one.layout)],
        "charts": _charts(report),
        "marks": MARKS,
        "metrics": METRICS,
        "numbers": numbers,
        "confidence": f"{100 * (1 - 2 * report.plan.alpha):.3g} %",
        "flat": flat,
        "excerpt": excerpt,
        "shown_flips": _FLIPS,
        "shown_flips_md": _FLIPS_MARKDOWN,
        "proofs": _proofs(report),
        "proof_mark": _proof_mark,
        "gates": _gates(report),
        "loads": load_tables(report.plan, report.judgement),
        "gains": gain_lines(report.plan, report.judgement),
        "noise": noise_lines(report.judgement),
        "closures": closure_lines(report.judgement),
        "bought": bought_text(report.plan, report.judgement),
    }


def _proofs(report: Report) -> list[str]:
    """The names of all proofs that any arm was asked for, in the order of its premises."""
    names = dict.fromkeys(name for row in report.judgement.rows for name in row.proof.asked)
    order = [name for name in PREMISES if name in names]
    return order + [name for name in names if name not in order]


def _proof_mark(row: Row, name: str) -> str:
    """What became of one proof of one arm, never told by a sign alone."""
    if name in row.proof.disproved:
        return "✗ disproved"
    if name in row.proof.missing:
        return "? missing"
    return "✓ found" if name in row.proof.found else _NONE


def _gates(report: Report) -> list[str]:
    found: list[str] = []
    for job, gates in report.plan.gates.items():
        for name, gate in gates.items():
            metric = METRICS[name]
            if metric.compared_as == "shift":
                found.append(f"{job} {metric.label}: at most {gate.margin:.4g} nats")
                continue
            unit = " points" if metric.compared_as == "fraction" else " %"
            way = "lower" if metric.better == "higher" else "higher"
            text = f"{job} {metric.label}: at most {100 * gate.margin:.4g}{unit} {way}"
            floor = "" if gate.floor is None else f", and no arm below {100 * gate.floor:.4g} %"
            found.append(f"{text} than {report.plan.reference}{floor}")
    return found


def _charts(report: Report) -> list[Chart]:
    rows = report.judgement.rows
    found: list[Chart] = []
    for job in report.plan.jobs:
        names = {one.metric for row in rows for one in row.measured if one.job == job}
        if "score" in names:
            gate = report.plan.gates.get(job, {}).get("score")
            margin = None if gate is None else gate.margin
            found.append(accuracy_chart(job, "score", rows, margin))
        if "median_itl_ms" in names:
            found.append(speed_chart(job, "median_itl_ms", rows))
    return [chart for chart in found if chart.svg]


def flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested notes as lines of dotted key and text, in their own order."""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = dict(enumerate(value)).items()
    else:
        return [(prefix, _setting(value))]
    return [
        pair
        for key, item in items
        for pair in flat(item, f"{prefix}.{key}" if prefix else str(key))
    ]


def _setting(value: object) -> str:
    """A setting or a note as text."""
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(_setting(item) for item in value) if value else _NONE
    if isinstance(value, dict):
        if not value:
            return _NONE
        return ", ".join(f"{key}: {_setting(item)}" for key, item in value.items())
    return str(value)


def _clean(text: str) -> str:
    """A log line without terminal colours and control characters."""
    return _CONTROL.sub("", _ANSI.sub("", text))


def _block(text: str) -> str:
    """A model's answer with its lines, and nothing that is no text."""
    return "\n".join(_clean(line) for line in text.splitlines())


def _markdown(text: object) -> str:
    """Text that stays text in a Markdown table cell or list."""
    one_line = " ".join(_clean(str(text)).split())
    return _MARKDOWN.sub(r"\\\1", one_line)


def _fence(log: list[str]) -> str:
    """A code fence longer than any run of backticks in the log."""
    runs = [len(run) for line in log for run in re.findall(r"`+", line)]
    return "`" * max(3, 1 + max(runs, default=0))


def _moment(stamp: str) -> str:
    """A record's time stamp as people read it, in UTC."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
