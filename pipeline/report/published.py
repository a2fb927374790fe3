"""The report of published figures: the same numbers, their gains, and what they leave open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.cli.console import stdout
from pipeline.exit_codes import CANNOT_VOUCH
from pipeline.records.record import write_atomic, write_json
from pipeline.report.model import SCHEMA_VERSION
from pipeline.report.published_table import Figure, Published, Row, load_published
from pipeline.report.render import render_published

_NONE = "\N{EN DASH}"
_WITHOUT = "reported without intervals"


def document(found: Published) -> dict[str, Any]:
    """The whole report as one JSON document; Markdown and HTML are made from it.

    ``values`` are the published numbers, ``texts`` the same with the published digits; ``gains``
    are worked out from them, and equal the published ones where there are any
    (:func:`pipeline.report.published_table.load_published` refuses others).
    """
    open_to = (
        f"reported figures of {found.source}: nothing was run or checked here"
        if found.has_intervals
        else f"{_WITHOUT}: {found.source}; nothing was run or checked here"
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "published",
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "setup": found.setup,
        "replicates": found.replicates,
        "intervals": "reported with some intervals" if found.has_intervals else _WITHOUT,
        "verdict": "missing",
        "exit_code": CANNOT_VOUCH,
        "reason": open_to,
        "candidate": found.candidate,
        "baselines": found.baselines,
        "metrics": {name: one.model_dump() for name, one in found.metrics.items()},
        "rows": [_row(found, row) for row in found.rows],
        "closure": _closure(found),
        "notes": found.notes,
    }


def _row(found: Published, row: Row) -> dict[str, Any]:
    gains = {name: found.gain(row, name) for name in found.baselines}
    known = {name: gain for name, gain in gains.items() if gain is not None}
    best = min(known, key=lambda name: known[name]) if known else None
    return {
        "case": row.case,
        "metric": row.metric,
        "label": found.metrics[row.metric].label,
        "values": {arm: found.value(row, arm) for arm in found.arms},
        "intervals": {
            arm: [one.low, one.high]
            for arm in found.arms
            if isinstance(one := found.figure(row, arm), Figure)
        },
        "texts": {arm: _text(found, row, arm) for arm in found.arms},
        "gains": known,
        "published_gains": row.gains,
        "gain_texts": {
            name: _NONE if gain is None else f"{gain:.{found.gain_digits}f}x"
            for name, gain in gains.items()
        },
        "best_baseline": best,
    }


def _text(found: Published, row: Row, arm: str) -> str:
    metric = found.metrics[row.metric]
    figure = found.figure(row, arm)
    if figure is None:
        return _NONE
    if not isinstance(figure, Figure):
        return f"{figure:.{metric.digits}f}"
    value, low, high = (
        f"{one:.{metric.digits}f}" for one in (figure.value, figure.low, figure.high)
    )
    return f"{value} [{low}, {high}]"


def _closure(found: Published) -> list[dict[str, Any]]:
    """How much of each change of a whole the change of its part explains, over each baseline."""
    rows = {(row.case, row.metric): row for row in found.rows}
    made: list[dict[str, Any]] = []
    for part in found.parts:
        for case in dict.fromkeys(row.case for row in found.rows):
            whole, inner = rows.get((case, part.whole)), rows.get((case, part.part))
            if whole is None or inner is None:
                continue
            for baseline in found.baselines:
                outer, inside = (_change(found, row, baseline) for row in (whole, inner))
                if outer is None or inside is None:
                    continue
                digits = found.metrics[part.whole].digits
                assert digits is not None  # load_published refuses a metric without
                made.append(
                    {
                        "case": case,
                        "over": baseline,
                        "whole": found.metrics[part.whole].label,
                        "part": found.metrics[part.part].label,
                        "whole_change": round(outer, digits),
                        "part_change": round(inside, digits),
                        "unexplained": round(outer - inside, digits),
                        "texts": [
                            f"{change:+.{digits}f}" for change in (outer, inside, outer - inside)
                        ],
                    }
                )
    return made


def _change(found: Published, row: Row, baseline: str) -> float | None:
    ours, theirs = found.value(row, found.candidate), found.value(row, baseline)
    return None if ours is None or theirs is None else ours - theirs


def report_published(file: Path, out: Path, *, as_json: bool) -> None:
    """Write report.md, report.html and report.json of published figures; what is there is replaced.

    Args:
        file: The figures.
        out: The folder; it gets one of the table's name below ``published``.
        as_json: Print the document instead of where it went.

    Raises:
        pipeline.experiment.yaml_source.SourceError: With everything that is wrong with the file.
    """
    told = document(load_published(file))
    folder = out / "published" / told["name"]
    folder.mkdir(parents=True, exist_ok=True)
    markdown, page = render_published(told)
    write_atomic(folder / "report.md", markdown)
    write_atomic(folder / "report.html", page)
    write_json(folder / "report.json", told)
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    console = stdout()
    console.print(f"{told['title']}: {told['reason']}", markup=False)
    for name in ("report.html", "report.md", "report.json"):
        console.print(f"report: {folder / name}", markup=False)
