"""The history as one HTML page that needs nothing else; pure."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.history.chart import line_chart
from pipeline.history.show import Shown, bad_text, change_text
from pipeline.report.numbers import value_text
from pipeline.report.table import MARKS

__all__ = ["history_page"]


def history_page(shown: list[Shown]) -> str:
    """The page: for each line a chart, what changed, and its nights as a table."""
    return str(_environment().get_template("history.html.j2").render(shown=shown))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pipeline"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    helpers: dict[str, Any] = {
        "line_chart": line_chart,
        "bad_text": bad_text,
        "change_text": change_text,
        "value_text": value_text,
        "marks": MARKS,
    }
    made.globals.update(helpers)
    return made
