"""A picture of one decode step across ranks, as SVG text or a page; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from evals.comm_kernels.analysis.sequences import Collectives
from evals.comm_kernels.families import FAMILIES
from evals.comm_kernels.traces.table import KernelTable, RankKernels, short_name

__all__ = ["timeline_page", "timeline_svg", "usual_step"]

_LEFT, _PLOT, _LANE, _BETWEEN, _TOP, _FOOT = 120, 1100, 16, 8, 54, 34
_OTHER = "#c8ccd2"
# Okabe and Ito's colours, which most colour-blind people can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_NS_PER_US = 1000


@dataclass(frozen=True)
class _Bar:
    """A kernel on its lane; times in nanoseconds from the picture's left edge."""

    lane: int
    start: int
    end: int
    name: str
    family: int


def usual_step(found: Collectives, steps: int) -> int:
    """The place of the step whose communication takes the median time."""
    sums = np.bincount(found.step, weights=found.took.mean(axis=0), minlength=steps)
    return int(np.argsort(sums, kind="stable")[(steps - 1) // 2])


def timeline_svg(table: KernelTable, step: int) -> str:
    """One step: a lane for each rank and stream, a bar for each kernel, its name on hovering.

    Where ranks' clocks show that they run together the lanes have one time; else each rank begins
    at its own first kernel, and the picture says so.

    Args:
        table: Aligned steps.
        step: Place of the step in the table, from 0.
    """
    together = _together(table, step)
    lanes, bars = _bars(table, step, together=together)
    span = max((bar.end for bar in bars), default=1)
    shown = sorted({bar.family for bar in bars if bar.family >= 0})
    colours = {family: _COLOURS[n % len(_COLOURS)] for n, family in enumerate(shown)}
    height = _TOP + len(lanes) * (_LANE + _BETWEEN) + _FOOT
    clock = "one clock" if together else "each rank from its own first kernel"
    title = f"decode step {table.numbers[step]} on {len(table.ranks)} ranks, {clock}"
    box = f"0 0 {_LEFT + _PLOT + 20} {height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif"',
        ' font-size="11" role="img">',
        f"<title>{escape(title)}</title>",
        f'<text x="0" y="14" font-size="13">{escape(title)}</text>',
        *_legend(colours),
        *_axis(span, height),
    ]
    for number, label in enumerate(lanes):
        parts.append(f'<text x="0" y="{_lane_y(number) + 12}">{escape(label)}</text>')
    parts += [_rectangle(bar, span, colours) for bar in bars]
    return "\n".join([*parts, "</svg>"]) + "\n"


def timeline_page(svg: str) -> str:
    """A page that holds nothing but the picture."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>decode step</title>'
        f"</head>\n<body>\n{svg}</body></html>\n"
    )


def _together(table: KernelTable, step: int) -> bool:
    begins = [int(rank.begins[step]) for rank in table.ranks]
    ends = [int(rank.ends[step]) for rank in table.ranks]
    return max(begins) < min(ends)


def _bars(table: KernelTable, step: int, *, together: bool) -> tuple[list[str], list[_Bar]]:
    origin = min(int(rank.begins[step]) for rank in table.ranks)
    lanes: list[str] = []
    bars: list[_Bar] = []
    for rank in table.ranks:
        zero = origin if together else int(rank.begins[step])
        rows = np.flatnonzero((rank.step == step) & (rank.order >= 0))
        families = rank.families().tolist()
        for stream in np.unique(rank.stream[rows]).tolist():
            mine = rows[rank.stream[rows] == stream]
            lanes.append(f"rank {rank.rank}, stream {stream}")
            bars += _of_lane(rank, mine.tolist(), families, len(lanes) - 1, zero)
    return lanes, bars


def _of_lane(
    rank: RankKernels, rows: Sequence[int], families: Sequence[int], lane: int, zero: int
) -> Iterator[_Bar]:
    for row in rows:
        name = int(rank.name[row])
        yield _Bar(
            lane,
            int(rank.start[row]) - zero,
            int(rank.end[row]) - zero,
            short_name(rank.names[name]),
            int(families[name]),
        )


def _lane_y(lane: int) -> int:
    return _TOP + lane * (_LANE + _BETWEEN)


def _rectangle(bar: _Bar, span: int, colours: dict[int, str]) -> str:
    x = _LEFT + _PLOT * bar.start / span
    width = max(_PLOT * (bar.end - bar.start) / span, 0.4)
    told = f"{bar.name}: {(bar.end - bar.start) / _NS_PER_US:.3f} us"
    return (
        f'<rect x="{x:.2f}" y="{_lane_y(bar.lane)}" width="{width:.2f}" height="{_LANE}" '
        f'fill="{colours.get(bar.family, _OTHER)}"><title>{escape(told)}</title></rect>'
    )


def _legend(colours: dict[int, str]) -> Iterator[str]:
    x = _LEFT
    named = [(FAMILIES[family].name, colour) for family, colour in colours.items()]
    for name, colour in [*named, ("other kernels", _OTHER)]:
        yield f'<rect x="{x}" y="26" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 17}" y="36">{escape(name)}</text>'
        x += 40 + 7 * len(name)


def _axis(span: int, height: int) -> Iterator[str]:
    for tenth in range(11):
        x = _LEFT + _PLOT * tenth / 10
        yield f'<path d="M{x:.1f} {_TOP - 6}V{height - _FOOT}" stroke="#e4e6ea"/>'
        yield (
            f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">'
            f"{span * tenth / 10 / _NS_PER_US:.1f}</text>"
        )
    yield f'<text x="0" y="{height - 12}">microseconds</text>'
