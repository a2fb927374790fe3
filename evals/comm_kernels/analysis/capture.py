"""From files of traces to every figure: reading, aligning, matching, and then the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.comm_kernels.analysis.figures import Figures, figures
from evals.comm_kernels.analysis.groups import Grouping, assumed, by_rules, of_layout, parse_rule
from evals.comm_kernels.analysis.sequences import Collectives, collectives
from evals.comm_kernels.analysis.steps import aligned
from evals.comm_kernels.traces.files import read_traces
from evals.comm_kernels.traces.table import KernelTable

__all__ = ["Analysis", "Known", "analyse", "matched", "measured"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the ranks that collectives join, besides the trace.

    Attributes:
        rules: Groups by kernel name (:func:`evals.comm_kernels.analysis.groups.parse_rule`); they
            go before all else.
        attention_tp: Ranks that share the attention of a request; None: the layout is unknown.
        attention_dp: Groups of those.
        ep: Expert parallel size.
        layers: Layers with experts, where known.
    """

    rules: Sequence[str] = ()
    attention_tp: int | None = None
    attention_dp: int = 1
    ep: int = 1
    layers: int | None = None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A capture: its table, its collectives and its figures."""

    table: KernelTable
    collectives: Collectives
    figures: Figures


def matched(paths: Sequence[Path], edge: int = 1) -> tuple[KernelTable, Collectives]:
    """Aligned steps of all ranks and their collectives.

    Raises:
        TraceError: See the modules that read, align and match.
    """
    table = aligned(read_traces(paths), edge=edge)
    return table, collectives(table)


def analyse(paths: Sequence[Path], known: Known, *, edge: int = 1) -> Analysis:
    """Everything about a capture.

    Args:
        paths: Traces of all ranks: nsys exports, or torch's profiler's, one rank a file or merged.
        known: What the trace itself does not say.
        edge: Steps to leave out at each end.

    Raises:
        TraceError: Nothing can be said; the message says why.
        ValueError: A rule cannot be read, or does not fit the number of ranks.
    """
    table, found = matched(paths, edge)
    return Analysis(table=table, collectives=found, figures=measured(table, found, known))


def measured(table: KernelTable, found: Collectives, known: Known) -> Figures:
    """The figures of aligned steps; see :func:`analyse`."""
    rules = [parse_rule(text, found.ranks) for text in known.rules]

    def grouped() -> Grouping:
        if rules:
            return by_rules(found, rules)
        if known.attention_tp is not None:
            return of_layout(
                found,
                attention_tp=known.attention_tp,
                attention_dp=known.attention_dp,
                ep=known.ep,
                layers=known.layers,
            )
        return assumed(found, table.ranks[0].origin.subgroups)

    return figures(table, found, grouped)
