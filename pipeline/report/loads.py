"""The report's table of a sweep: one line a layout, arm and point, so that a load reads as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.metrics import METRICS
from pipeline.gate.model import Judgement, Row
from pipeline.plan.model import Plan
from pipeline.report.text import estimate_text, value_text

__all__ = ["AXES", "SHOWN", "LoadLine", "LoadTable", "load_tables", "swept_jobs"]

AXES = ("input_len", "output_len", "concurrency")

SHOWN = ("median_itl_ms", "median_ttft_ms", "output_throughput")
"""What is shown of a point besides everything that is gated in any of them."""


@dataclass(frozen=True, kw_only=True)
class LoadLine:
    """One point on one arm and layout; texts are in the order of the table's metrics."""

    layout: str
    arm: str
    point: Sequence[int]
    texts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class LoadTable:
    """One sweep."""

    name: str
    labels: Sequence[str]
    lines: Sequence[LoadLine]


def swept_jobs(plan: Plan) -> list[list[str]]:
    """Latency jobs that differ in nothing but the load's three axes, two or more, by sweep."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, job in plan.jobs.items():
        if job.get("kind") == "latency":
            rest = {key: value for key, value in job.items() if key not in AXES}
            groups[repr(sorted(rest.items()))].append(name)
    return [names for names in groups.values() if len(names) > 1]


def load_tables(plan: Plan, judgement: Judgement) -> list[LoadTable]:
    """A table for each sweep, its points side by side for each arm."""
    made: list[LoadTable] = []
    for names in swept_jobs(plan):
        gated = {metric for name in names for metric in plan.gates.get(name, {})}
        metrics = [name for name in METRICS if name in gated or name in SHOWN]
        lines = [
            _line(row, job, plan.jobs[job], metrics) for row in judgement.rows for job in names
        ]
        label = _common(names)
        labels = [METRICS[name].label for name in metrics]
        made.append(LoadTable(name=label, labels=labels, lines=lines))
    return made


def _line(row: Row, job: str, settings: dict[str, Any], metrics: Sequence[str]) -> LoadLine:
    return LoadLine(
        layout=str(row.layout),
        arm=row.arm,
        point=[settings[axis] for axis in AXES],
        texts=[_text(row, job, metric) for metric in metrics],
    )


def _text(row: Row, job: str, metric: str) -> str:
    """Value, ratio to the reference with its interval, and the verdict of a gate."""
    values = [one.value for one in row.measured if (one.job, one.metric) == (job, metric)]
    text = value_text(metric, values[0] if values else None)
    for check in row.checks:
        if (check.job, check.metric, check.against) == (job, metric, "reference"):
            ratio = "" if check.estimate is None else f", {estimate_text(check)}"
            verdict = "" if check.verdict is None else f", {check.verdict.value}"
            return f"{text}{ratio}{verdict}"
    return text


def _common(names: Sequence[str]) -> str:
    """What the points' names begin with alike."""
    first, last = min(names), max(names)
    length = next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1), 0
    )
    return first[:length].rstrip("-0123456789") or first
