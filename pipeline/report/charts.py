"""The report's charts: dots, whiskers and limits as inline SVG, drawn by pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup, escape

from pipeline.gate.model import Check, Row, Verdict
from pipeline.report.tables import MARKS
from pipeline.report.text import point_text, value_text

__all__ = ["Chart", "accuracy_chart", "nice_ticks", "speed_chart"]

_MINUS = "\N{MINUS SIGN}"

# In the picture's own units; a letter of its font is about this wide.
_PLOT, _LINE, _FOOT, _LETTER = 370, 26, 24, 7


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A title, and the picture as SVG text that is safe in HTML; empty where nothing is to show."""

    title: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One line of a chart: what it is, where its marks are, what is written at its end."""

    label: str
    group: str
    text: str
    point: float | None
    whisker: tuple[float, float] | None
    dots: Sequence[float]
    mark: str


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """A line over the whole height, with its name at the top."""

    value: float
    name: str
    kind: str
    anchor: str


def accuracy_chart(job: str, metric: str, rows: Sequence[Row], margin: float | None) -> Chart:
    """Paired differences with intervals, zero and the margin; empty where there are none."""
    items: list[_Item] = []
    for row in rows:
        check = _check(row, job, metric)
        if check is None or check.estimate is None:
            continue
        verdict = check.verdict.value if check.verdict is not None else "not gated"
        interval = check.interval
        items.append(
            _Item(
                label=row.arm,
                group=str(row.layout),
                text=f"{point_text(check)}, {verdict}",
                point=100 * check.estimate,
                whisker=None if interval is None else (100 * interval[0], 100 * interval[1]),
                dots=(),
                mark=MARKS[check.verdict] if check.verdict is not None else "not gated",
            )
        )
    limits = [_Limit(value=0.0, name="equal", kind="zero", anchor="start")]
    if margin is not None:
        name = f"margin {_MINUS}{100 * margin:.3g}"
        limits.append(_Limit(value=-100 * margin, name=name, kind="limit", anchor="end"))
    title = f"{job}: difference to the reference in percentage points, with interval"
    return Chart(title=title, svg=_svg(title, items, limits))


def speed_chart(job: str, metric: str, rows: Sequence[Row]) -> Chart:
    """Launches as dots, their geometric mean as a bar; empty where there are none."""
    items: list[_Item] = []
    for row in rows:
        one = next((m for m in row.measured if (m.job, m.metric) == (job, metric)), None)
        if one is None:
            continue
        check = _check(row, job, metric)
        ratio = "" if check is None or check.estimate is None else f", ratio {check.estimate:.3f}"
        items.append(
            _Item(
                label=f"{row.arm} (reference)" if row.role == "reference" else row.arm,
                group=str(row.layout),
                text=f"{value_text(metric, one.value)}{ratio}",
                point=one.value,
                whisker=None,
                dots=[launch.value for launch in one.launches],
                mark="",
            )
        )
    title = f"{job}: median ITL in ms; dots are launches, the bar is their geometric mean"
    return Chart(title=title, svg=_svg(title, items, []))


def _check(row: Row, job: str, metric: str) -> Check | None:
    for check in row.checks:
        if (check.job, check.metric, check.against) == (job, metric, "reference"):
            return check
    return None


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that enclose [low, high], about ``wanted`` of them."""
    span = high - low if high > low else max(abs(high), 1.0) * 0.1
    rough = span / wanted
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = floor(low / step), ceil(high / step)
    if first == last:
        first, last = first - 1, last + 1
    return [round(index * step, 10) for index in range(first, last + 1)]


def _svg(title: str, items: Sequence[_Item], limits: Sequence[_Limit]) -> Markup:
    if not items:
        return Markup("")
    frame = _frame(items, limits)
    parts = [_axis(frame), *(_limit(limit, frame) for limit in limits)]
    y = frame.top
    before = None
    for item in items:
        if item.group != before:
            y += _LINE
            parts.append(f'<text class="group" x="0" y="{y - 8}">{escape(item.group)}</text>')
            before = item.group
        parts.append(_line(item, frame, y))
        y += _LINE
    summary = "; ".join(f"{item.label} on {item.group}: {item.text}" for item in items)
    return Markup(  # noqa: S704 - every text in it is escaped above
        f'<svg class="chart" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'style="min-width:{frame.width}px;max-width:{frame.width * 5 // 4}px" '
        f'aria-label="{escape(title)}. {escape(summary)}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where a chart's parts are."""

    left: int
    width: int
    top: int
    height: int
    ticks: Sequence[float]

    @property
    def right(self) -> int:
        """Where the plot ends and the texts begin."""
        return self.left + _PLOT

    @property
    def foot(self) -> int:
        """Where the plot ends and the ticks' numbers begin."""
        return self.height - _FOOT

    def x(self, value: float) -> float:
        """A value's place."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(self.left + _PLOT * (value - low) / (high - low), 1)


def _frame(items: Sequence[_Item], limits: Sequence[_Limit]) -> _Frame:
    values = [limit.value for limit in limits]
    for item in items:
        values += [*item.dots, *(item.whisker if item.whisker is not None else ())]
        values += [] if item.point is None else [item.point]
    left = 30 + _LETTER * max(len(item.label) for item in items)
    right = 30 + _LETTER * max(len(item.text) for item in items)
    top = 24 if limits else 0
    groups = len({item.group for item in items})
    return _Frame(
        left=left,
        width=left + _PLOT + right,
        top=top,
        height=top + _LINE * (len(items) + groups) + 6 + _FOOT,
        ticks=nice_ticks(*_range(values)),
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """What the plot shows: never so small a range that noise of a per mille looks large."""
    low, high = min(values), max(values)
    missing = 0.04 * max(abs(low), abs(high)) - (high - low)
    return (low, high) if missing <= 0 else (low - missing / 2, high + missing / 2)


def _axis(frame: _Frame) -> str:
    return "".join(
        f'<line class="grid" x1="{frame.x(t)}" y1="{frame.top}" x2="{frame.x(t)}" '
        f'y2="{frame.foot}"/><text class="tick" x="{frame.x(t)}" y="{frame.foot + 16}">'
        f"{_number(t)}</text>"
        for t in frame.ticks
    )


def _number(value: float) -> str:
    return f"{value:.6g}".replace("-", _MINUS)


def _limit(limit: _Limit, frame: _Frame) -> str:
    x = frame.x(limit.value)
    name_x = x - 4 if limit.anchor == "end" else x + 4
    return (
        f'<line class="{limit.kind}" x1="{x}" y1="{frame.top - 6}" x2="{x}" y2="{frame.foot}"/>'
        f'<text class="limit-name" style="text-anchor:{limit.anchor}" x="{name_x}" '
        f'y="{frame.top - 8}">{escape(limit.name)}</text>'
    )


def _line(item: _Item, frame: _Frame, top: int) -> str:
    y = top + 9
    parts = [
        f'<text class="label" x="{frame.left - 14}" y="{y + 4}">{escape(item.label)}</text>',
        f'<text class="end" x="{frame.right + 14}" y="{y + 4}">{escape(item.text)}</text>',
    ]
    if item.whisker is not None:
        low, high = (frame.x(side) for side in item.whisker)
        parts.append(
            f'<path class="whisker" d="M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"/>'
        )
    parts += [f'<circle class="dot" cx="{frame.x(dot)}" cy="{y}" r="3.5"/>' for dot in item.dots]
    if item.point is not None:
        x = frame.x(item.point)
        if item.mark:
            parts.append(_mark(item.mark, x, y))
        else:
            parts.append(f'<path class="mean" d="M{x} {y - 9}v18"/>')
    return "".join(parts)


def _mark(mark: str, x: float, y: float) -> str:
    """A shape for each verdict: it must be told apart without colour."""
    if mark == MARKS[Verdict.REGRESSED]:
        return f'<path class="bad" d="M{x - 5} {y - 5}l10 10m0 -10l-10 10"/>'
    if mark == MARKS[Verdict.IMPROVED]:
        return f'<path class="good" d="M{x} {y - 6}l6 11h-12z"/>'
    if mark == MARKS[Verdict.PASS]:
        return f'<circle class="good" cx="{x}" cy="{y}" r="5"/>'
    return f'<circle class="open" cx="{x}" cy="{y}" r="5"/>'
