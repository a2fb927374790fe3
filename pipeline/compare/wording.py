"""Comparisons as one JSON document, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evals.metrics import METRICS
from pipeline.compare.benchmarks import LoadComparison
from pipeline.compare.comparison import Comparison
from pipeline.compare.sides import Side
from pipeline.compare.text import pairing_document, pairing_lines
from pipeline.gate.model import Check
from pipeline.gate.text import as_change
from pipeline.report.tables import MARKS

__all__ = ["answers_document", "answers_lines", "load_document", "load_lines"]


def answers_document(reference: Side, arm: Side, made: Comparison) -> dict[str, Any]:
    """One comparison of answers; fractions in [0, 1]."""
    seen = made.difference
    return {
        "reference_source": reference.source,
        "source": arm.source,
        "reference_tool": reference.tool,
        "tool": arm.tool,
        "verdict": made.verdict.value,
        "reason": made.reason,
        "notes": list(made.notes),
        "margin": made.margin,
        "difference": None if seen is None else seen.difference,
        "interval": None if seen is None else list(seen.interval),
        "p_worse": None if seen is None else seen.p_lower,
        "method": None if seen is None else seen.method,
        "pairing": None if made.pairing is None else pairing_document(made.pairing),
    }


def answers_lines(reference: Side, arm: Side, made: Comparison) -> Iterator[str]:
    """The same for a person."""
    if made.pairing is None:
        yield f"{arm.job}: {arm.name} against {reference.name}"
    else:
        yield from pairing_lines(made.pairing)
    yield from (f"  {note}" for note in made.notes)
    if (seen := made.difference) is not None:
        lower, upper = (100 * bound for bound in seen.interval)
        yield (
            f"  score {100 * seen.difference:+.2f} points [{lower:+.2f}, {upper:+.2f}] "
            f"({seen.method})"
        )
    yield f"  {MARKS[made.verdict]} {made.verdict.value}: {made.reason}"


def load_document(sources: Sequence[str], made: LoadComparison) -> dict[str, Any]:
    """One load of a benchmark on both sides; times in ms, changes as ratios."""
    return {
        "reference_source": sources[0],
        "source": sources[1],
        "verdict": made.verdict.value,
        "reason": made.reason,
        "load": made.load,
        "reference_files": made.files[0],
        "files": made.files[1],
        "settings": [one.model_dump(mode="json") for one in made.settings],
        "metrics": [_metric(check) for check in made.checks],
    }


def _metric(check: Check) -> dict[str, Any]:
    return {
        "name": check.metric,
        "verdict": None if check.verdict is None else check.verdict.value,
        "reason": check.reason,
        "margin": check.margin,
        "reference_value": check.reference_value,
        "value": check.value,
        "ratio": check.estimate,
        "interval": None if check.interval is None else list(check.interval),
        "p_worse": check.p_worse,
        "p_worse_adjusted": check.p_worse_adjusted,
        "method": check.method,
    }


def load_lines(made: LoadComparison) -> Iterator[str]:
    """The same for a person."""
    yield f"{made.load} (files: {made.files[1]} against {made.files[0]})"
    yield from (f"  setting {one.name}: {one.arm} against {one.reference}" for one in made.settings)
    for check in made.checks:
        yield f"  {_metric_text(check)}"
    yield f"  {MARKS[made.verdict]} {made.verdict.value}: {made.reason}"


def _metric_text(check: Check) -> str:
    metric = METRICS[check.metric]
    if check.estimate is None or check.value is None or check.reference_value is None:
        return f"{metric.label}: {check.reason}"
    bounds = ""
    if check.interval is not None:
        bounds = " [" + ", ".join(as_change(bound) for bound in check.interval) + "]"
    told = "" if check.verdict is None else f", {check.verdict.value}"
    return (
        f"{metric.label}: {check.value:.{metric.digits}f} against "
        f"{check.reference_value:.{metric.digits}f} {metric.unit}, "
        f"{as_change(check.estimate)}{bounds}{told}"
    )
