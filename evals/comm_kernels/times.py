"""The figures of a capture as metrics of a record, and whole as its details."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evals.comm_kernels.analysis import Known, measured
from evals.comm_kernels.figures import Figures
from evals.comm_kernels.sequences import Collectives
from evals.comm_kernels.table import KernelTable, TraceError

__all__ = ["document", "metrics_of", "timed"]

_MOST_NAMES = 40


def document(figures: Figures) -> dict[str, Any]:
    """The figures as JSON values: what ``servegate trace --json`` prints."""
    return asdict(figures)


def metrics_of(figures: Figures) -> dict[str, float]:
    """Metrics by name (:mod:`evals.metrics`); what was refused or not seen is left out.

    A step without communication has no time of it, which is another thing than a time of zero.
    """
    values: dict[str, float | None] = {
        "other_kernels_ms": figures.other_kernels_ms,
        "gaps_ms": figures.gaps_ms,
        "traced_step_ms": figures.step_ms,
    }
    if figures.kernels_per_step:
        values |= _of_communication(figures)
    return {name: value for name, value in values.items() if value is not None}


def _of_communication(figures: Figures) -> dict[str, float | None]:
    return {
        "comm_with_imbalance_ms": figures.with_imbalance_ms,
        "comm_without_imbalance_ms": figures.without_imbalance_ms,
        "comm_span_ms": figures.span_ms,
        "comm_exposed_ms": figures.exposed_ms,
        "comm_kernels_per_step": figures.kernels_per_step,
    }


def timed(
    table: KernelTable, found: Collectives, known: Known
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics, and what a record keeps besides; both say nothing of times on a CPU.

    On a CPU operations contain each other and share cores with everything else, so that their times
    say nothing of an arm.
    """
    if table.ranks[0].origin.device == "cpu":
        return {}, {"refused": "traced on a CPU, where the times of operations mean nothing"}
    try:
        figures = measured(table, found, known)
    except TraceError as error:
        return {}, {"refused": str(error)}
    kept = document(figures)
    kept["compute"] = dict(list(kept["compute"].items())[:_MOST_NAMES])
    return metrics_of(figures), kept
