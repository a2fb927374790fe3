"""One line of the history as inline SVG: nights from left to right; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from evals.metrics import METRICS
from pipeline.gate.model import Verdict
from pipeline.history.series import Line, Point
from pipeline.history.show import Shown, bad_text, change_text
from pipeline.report.charts import nice_ticks
from pipeline.report.tables import MARKS
from pipeline.report.text import value_text

# In the picture's own units.
_WIDTH, _PLOT_TOP, _PLOT_FOOT, _HEIGHT, _LEFT = 760, 22, 190, 226, 70
_FEW = 8


@dataclass(frozen=True, kw_only=True)
class _Frame:
    ticks: Sequence[float]
    nights: int

    def x(self, index: int) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - 20) * (index + 0.5) / self.nights, 1)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return round(_PLOT_FOOT - (_PLOT_FOOT - _PLOT_TOP) * (value - low) / (high - low), 1)


def line_chart(line: Line) -> Markup:
    """Launches as dots, each night's value as a mark by its verdict; empty without a value.

    Changes of level, pinned baselines and the first bad night are vertical lines with a name. A
    mark's shape tells its verdict, and a pointer on it shows its numbers.
    """
    values = [v for point in line.points if point.value is not None for v in _values(point)]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    missing = 0.04 * max(abs(low), abs(high)) - (high - low)
    room = max(missing, 0.0) / 2
    frame = _Frame(ticks=nice_ticks(low - room, high + room), nights=len(line.points))
    parts = [_axis(line, frame), *_lines(line, frame)]
    parts += [_night(line, frame, index, point) for index, point in enumerate(line.points)]
    told = "; ".join(
        f"{point.started_at[:10]} {value_text(line.metric, point.value)} "
        f"{point.verdict.value if point.verdict is not None else 'not judged'}"
        for point in line.points
    )
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(line.name)}. {escape(told)}">{"".join(parts)}</svg>'
    )


def _values(point: Point) -> list[float]:
    own = [] if point.value is None else [point.value]
    return [*own, *point.launches, *(point.interval or ())]


def _axis(line: Line, frame: _Frame) -> str:
    digits = METRICS[line.metric].digits
    rows = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{frame.y(t)}" x2="{_WIDTH - 20}" y2="{frame.y(t)}"/>'
        f'<text class="tick" style="text-anchor:end" x="{_LEFT - 8}" y="{frame.y(t) + 4}">'
        f"{t:.{digits}f}</text>"
        for t in frame.ticks
    )
    step = max(1, -(-frame.nights // _FEW))
    return rows + "".join(
        f'<text class="tick" x="{frame.x(index)}" y="{_PLOT_FOOT + 20}">'
        f"{escape(point.started_at[5:10])}</text>"
        for index, point in enumerate(line.points)
        if index % step == 0
    )


def _lines(line: Line, frame: _Frame) -> list[str]:
    at = {point.run: index for index, point in enumerate(line.points)}
    named = [(index, f"pin {p.pin}", "zero") for index, p in enumerate(line.points) if p.pin]
    unit = "points" if METRICS[line.metric].compared_as == "fraction" else "%"
    named += [(at[c.run], f"{100 * c.relative:+.1f} {unit}", "limit") for c in line.changes]
    if line.first_bad is not None:
        named.append((at[line.first_bad.run], "first bad", "limit"))
    made = []
    for index in sorted({index for index, _, _ in named}):
        here = [(name, kind) for where, name, kind in named if where == index]
        name, kind = ", ".join(name for name, _ in here), max((k for _, k in here), key=_loud)
        x = frame.x(index)
        anchor, beside = ("end", x - 4) if index > frame.nights / 2 else ("start", x + 4)
        made.append(
            f'<line class="{kind}" x1="{x}" y1="{_PLOT_TOP - 8}" x2="{x}" y2="{_PLOT_FOOT}"/>'
            f'<text class="limit-name" style="text-anchor:{anchor}" x="{beside}" '
            f'y="{_PLOT_TOP - 10}">{escape(name)}</text>'
        )
    return made


def _loud(kind: str) -> bool:
    return kind == "limit"


def _night(line: Line, frame: _Frame, index: int, point: Point) -> str:
    x = frame.x(index)
    word = "not judged" if point.verdict is None else point.verdict.value
    told = f"{point.run}: {value_text(line.metric, point.value)}, {word}. {point.reason}"
    title = f"<title>{escape(told)}</title>"
    if point.value is None:
        return f'<text class="tick" x="{x}" y="{_PLOT_FOOT - 6}">{title}\N{EMPTY SET}</text>'
    parts = [title]
    if point.interval is not None:
        low, high = (frame.y(side) for side in point.interval)
        parts.append(f'<path class="whisker" d="M{x} {low}V{high}"/>')
    else:
        parts += [f'<circle class="dot" cx="{x}" cy="{frame.y(v)}" r="2"/>' for v in point.launches]
    parts.append(_mark(point.verdict, x, frame.y(point.value)))
    return f"<g>{''.join(parts)}</g>"


def _mark(verdict: Verdict | None, x: float, y: float) -> str:
    """A shape for each verdict: it must be told apart without colour."""
    if verdict is Verdict.REGRESSED:
        return f'<path class="bad" d="M{x - 5} {y - 5}l10 10m0 -10l-10 10"/>'
    if verdict in (Verdict.PASS, Verdict.IMPROVED):
        return f'<circle class="good" cx="{x}" cy="{y}" r="4.5"/>'
    return f'<circle class="open" cx="{x}" cy="{y}" r="4.5"/>'


def history_page(shown: list[Shown]) -> str:
    """The page: for each line a chart, what changed, and its nights as a table."""
    return str(_environment().get_template("history.html.j2").render(shown=shown))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    helpers: dict[str, Any] = {
        "line_chart": line_chart,
        "bad_text": bad_text,
        "change_text": change_text,
        "value_text": value_text,
        "marks": MARKS,
    }
    made.globals.update(helpers)
    return made
