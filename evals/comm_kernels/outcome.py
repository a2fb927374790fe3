"""What the traces of a cell say, as the outcome of the job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evals.comm_kernels.analysis.capture import Known, matched, measured
from evals.comm_kernels.analysis.figures import Figures
from evals.comm_kernels.analysis.sequences import Collectives
from evals.comm_kernels.capture.files import TRACES
from evals.comm_kernels.families import FAMILIES, mode_of, suspicious
from evals.comm_kernels.traces.table import KernelTable, TraceError
from evals.job import Outcome


def count(table: KernelTable, found: Collectives) -> dict[str, Any]:
    """Counts of every step of every rank.

    Returns:
        ``ranks``, ``steps``, ``skipped_steps``, ``rounds`` (a step may hold a draft model's forward
        passes, too), ``kernels`` a step (of rank 0's first), ``families`` (kernels a step by
        family; {"min", "max"} where steps differ), ``modes`` (of MixedComm's kernels, a step) and
        ``unknown`` (kernels of no family that look like communication, a step, on any rank).
    """
    leader = table.ranks[0]
    inside = leader.order >= 0
    first = leader.name[(leader.step == 0) & inside]
    modes = Counter(
        mode_of(name)
        for name, family in zip(leader.names, leader.families(), strict=True)
        if family >= 0 and FAMILIES[family].name == "mixed"
        for _ in range(int(np.count_nonzero(first == leader.names.index(name))))
    )
    unknown: Counter[str] = Counter()
    for rank in table.ranks:
        mine = rank.name[(rank.step == 0) & (rank.order >= 0)]
        for place, number in zip(*np.unique(mine, return_counts=True), strict=True):
            if suspicious(rank.names[place]):
                unknown[rank.names[place]] = max(unknown[rank.names[place]], int(number))
    return {
        "ranks": len(table.ranks),
        "steps": table.steps,
        "skipped_steps": table.skipped_steps,
        "rounds": leader.origin.rounds,
        "kernels": len(first),
        "families": _families(found, table.steps),
        "modes": {str(mode): number for mode, number in modes.items()},
        "unknown": dict(unknown),
    }


def _families(found: Collectives, steps: int) -> dict[str, Any]:
    families: dict[str, Any] = {}
    for place in sorted(set(found.family.tolist()), key=lambda place: FAMILIES[place].name):
        each = np.bincount(found.step[found.family == place], minlength=steps)
        least, most = int(each.min()), int(each.max())
        families[FAMILIES[place].name] = most if least == most else {"min": least, "max": most}
    return families


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


def outcome_of(files: Sequence[Path], facts: Mapping[str, Any]) -> Outcome:
    """Ok only where all ranks of the server ran the same communication in every step.

    Args:
        files: Traces of all ranks.
        facts: What the client kept of the server: ``ranks``, ``layers``, and of its layout
            ``attention_dp`` and ``ep`` (not in cells of before it was asked).
    """
    try:
        table, found = matched(files)
        if len(table.ranks) != facts["ranks"]:
            raise TraceError(
                f"the trace has {len(table.ranks)} of the server's {facts['ranks']} ranks"
            )
    except TraceError as error:
        return Outcome(status="invalid", failure_class="trace", reason=str(error))
    kernels = count(table, found)
    metrics, times = timed(table, found, _known(facts))
    return Outcome(
        status="ok",
        metrics=metrics,
        counts={key: kernels[key] for key in ("ranks", "steps", "skipped_steps", "kernels")},
        details={"kernels": {**kernels, "layers": facts["layers"]}, "times": times},
        artifacts={path.name: f"{TRACES}/{path.name}" for path in files},
    )


def _known(facts: Mapping[str, Any]) -> Known:
    if "attention_dp" not in facts:
        return Known(layers=facts["layers"])
    attention_dp = int(facts["attention_dp"])
    return Known(
        attention_tp=max(1, int(facts["ranks"]) // attention_dp),
        attention_dp=attention_dp,
        ep=int(facts["ep"]),
        layers=facts["layers"],
    )
