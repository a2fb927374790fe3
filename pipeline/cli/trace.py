"""`servegate trace`: where the communication time of decode steps goes, from anybody's traces."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from evals.comm_kernels.analysis.capture import Analysis, Known, analyse
from evals.comm_kernels.analysis.figures import Figures
from evals.comm_kernels.analysis.launches import over_launches
from evals.comm_kernels.analysis.timeline import timeline_page, timeline_svg, usual_step
from evals.comm_kernels.capture.files import trace_files
from evals.comm_kernels.outcome import document
from evals.comm_kernels.traces.table import TraceError
from pipeline import exit_codes
from pipeline.cli.console import endings, refuse, stderr, stdout
from pipeline.cli.options import AsJson
from pipeline.records.record import write_atomic

__all__ = ["trace"]

_LAYOUT = re.compile(r"(tp|dp|ep)=(\d+)")
_MOST_NAMES = 10


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the command line asks for.

    Attributes:
        files: Traces of one launch; a folder holds the traces of one launch of its own.
        known: What the traces do not say.
        edge: Steps to leave out at each end.
        parquet: Where to write the table of kernels.
        timeline: Where to write the picture of a step, .svg or .html.
        step: Which step to draw, by its number; None: the one with the median communication time.
    """

    files: Sequence[Path]
    known: Known
    edge: int = 1
    parquet: Path | None = None
    timeline: Path | None = None
    step: int | None = None


def trace(  # noqa: PLR0913, PLR0917 - a parameter an option
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            help="Traces of all ranks of one launch: SQLite exports of nsys or traces of torch's "
            "profiler, one a rank or merged. A folder is a launch of its own.",
        ),
    ],
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--groups",
            metavar="[REGEX=]WHICH",
            help="Which ranks the collectives of that name join: world, size:2 or 0,1:2,3. "
            "Repeatable; the first that matches counts.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option("--layout", help="tp=8,dp=2,ep=4 of SGLang: groups by its known sequences."),
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="With --layout: layers with experts.")
    ] = None,
    edge: Annotated[int, typer.Option("--edge", min=1, help="Steps to leave out at each end.")] = 1,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="Write the table of kernels here.")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option("--timeline", help="Draw a step here, as .svg or .html.")
    ] = None,
    step: Annotated[
        int | None, typer.Option("--step", help="With --timeline: the step to draw.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say where the communication time of decode steps goes, from anybody's traces.

    Exit code 3 where something is refused. Example: servegate trace traces/*.sqlite --layout
    tp=8,dp=2,ep=4 --json
    """
    with endings():
        given = groups if groups is not None else []
        try:
            known = Known(rules=given) if layout is None else _layout_of(layout, layers, given)
            figures = _traced(
                _Asked(
                    files=files,
                    known=known,
                    edge=edge,
                    parquet=parquet,
                    timeline=timeline,
                    step=step,
                )
            )
        except TraceError as error:
            stderr().print(f"refused: {error}", markup=False)
            raise typer.Exit(exit_codes.CANNOT_VOUCH) from error
        except ValueError as error:
            refuse([str(error)])
        _show_trace(figures, stdout(), as_json=as_json)
        if figures.refused:
            stderr().print(f"refused: time without imbalance: {figures.refused}", markup=False)
            raise typer.Exit(exit_codes.CANNOT_VOUCH)


def _layout_of(text: str, layers: int | None, rules: Sequence[str]) -> Known:
    """``tp=8,dp=2,ep=4`` as what is known of the groups; ``ep`` defaults to 1.

    Raises:
        ValueError: It is not so, or attention DP does not divide TP.
    """
    parts = [_LAYOUT.fullmatch(part.strip()) for part in text.split(",")]
    sizes = {match[1]: int(match[2]) for match in parts if match is not None}
    if None in parts or "tp" not in sizes or not all(sizes.values()):
        raise ValueError(f"--layout {text}: write tp=8,dp=2,ep=4 (dp is attention DP)")
    tp, dp = sizes["tp"], sizes.get("dp", 1)
    if tp % dp:
        raise ValueError(f"--layout {text}: attention DP {dp} does not divide TP {tp}")
    return Known(
        rules=rules, attention_tp=tp // dp, attention_dp=dp, ep=sizes.get("ep", 1), layers=layers
    )


def _traced(asked: _Asked) -> Figures:
    """The figures; writes what is asked for of the first capture.

    Raises:
        TraceError: Nothing can be said.
        ValueError: What was asked for does not fit the traces.
    """
    captures = _captures(asked.files)
    analyses = [analyse(paths, asked.known, edge=asked.edge) for paths in captures]
    if asked.parquet is not None:
        import pyarrow.parquet as pq  # a third of a second: only those who write it pay it

        pq.write_table(analyses[0].table.arrow(), asked.parquet, compression="zstd")
    if asked.timeline is not None:
        _draw(analyses[0], asked.timeline, asked.step)
    return over_launches([one.figures for one in analyses])


def _captures(files: Sequence[Path]) -> list[list[Path]]:
    """Each folder is a capture; files that are named by themselves are one together."""
    alone = [path for path in files if not path.is_dir()]
    captures = [alone] if alone else []
    for folder in (path for path in files if path.is_dir()):
        inside = trace_files(folder)
        if not inside:
            raise TraceError(f"{folder}: holds no *.trace.json, *.trace.json.gz or *.sqlite")
        captures.append(inside)
    return captures


def _draw(analysis: Analysis, path: Path, number: int | None) -> None:
    table = analysis.table
    if number is None:
        step = usual_step(analysis.collectives, table.steps)
    else:
        places = {int(found): place for place, found in enumerate(table.numbers)}
        if number not in places:
            raise ValueError(
                f"--step {number}: is none of the decode steps that count, "
                f"{table.numbers[0]} to {table.numbers[-1]}"
            )
        step = places[number]
    svg = timeline_svg(table, step)
    write_atomic(path, timeline_page(svg) if path.suffix == ".html" else svg)


def _show_trace(figures: Figures, out: Console, *, as_json: bool) -> None:
    """Print the figures, as one JSON document or for a person."""
    if as_json:
        print(json.dumps(document(figures), indent=2))
        return
    left_out = ", ".join(f"{number} {why}" for why, number in figures.skipped.items())
    out.print(
        f"{figures.ranks} ranks, {figures.steps} decode steps"
        + (f" ({figures.skipped_steps} left out: {left_out})" if left_out else ""),
        markup=False,
    )
    out.print(f"groups: {figures.groups}", markup=False)
    out.print(_communication(figures))
    out.print(_step(figures))
    out.print("ms a decode step: mean over ranks, median over steps, then over launches")


def _communication(figures: Figures) -> Table:
    table = _empty("communication", "with imbalance", "without", "kernels")
    for name, family in figures.families.items():
        table.add_row(
            name,
            _ms(family.with_imbalance_ms),
            _ms(family.without_imbalance_ms),
            f"{family.kernels_per_step:g}",
        )
    table.add_row(
        "all",
        _ms(figures.with_imbalance_ms),
        _ms(figures.without_imbalance_ms),
        f"{figures.kernels_per_step:g}",
        style="bold",
    )
    table.add_row("waiting (imbalance)", _ms(figures.imbalance_ms), "", "")
    table.add_row("span between compute kernels", _ms(figures.span_ms), "", "")
    table.add_row("overlapped with compute", _ms(figures.overlap_ms), "", "")
    return table


def _step(figures: Figures) -> Table:
    table = _empty("step", "ms")
    for name, value in (
        ("from one step to the next", figures.step_ms),
        ("communication alone", figures.exposed_ms),
        ("other kernels", figures.other_kernels_ms),
        ("nothing runs", figures.gaps_ms),
    ):
        table.add_row(name, _ms(value))
    table.add_section()
    for name, took in list(figures.compute.items())[:_MOST_NAMES]:
        table.add_row(name, _ms(took))
    return table


def _empty(first: str, *others: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _ms(value: float | None) -> str:
    return "refused" if value is None else f"{value:.4f}"
