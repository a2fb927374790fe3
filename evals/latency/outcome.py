"""What the serving benchmark left in a cell: one file a run, checked before it counts."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.job import Outcome
from evals.latency.settings import Goal

__all__ = ["MEASURED", "Asked", "BadRunError", "bench_file", "read_cell", "read_run", "run_problem"]

# Our metric by the benchmark's field.
_NEEDED = {
    "median_itl_ms": "median_itl_ms",
    "p99_itl_ms": "p99_itl_ms",
    "median_tpot_ms": "median_tpot_ms",
    "median_ttft_ms": "median_ttft_ms",
    "median_e2e_ms": "median_e2e_latency_ms",
    "output_throughput": "output_throughput",
    "request_throughput": "request_throughput",
}
# Taken where they are there: not every version of the benchmark writes them.
_MORE = {
    f"{statistic}_{ours}_ms": f"{statistic}_{theirs}_ms"
    for ours, theirs in (("itl", "itl"), ("tpot", "tpot"), ("ttft", "ttft"), ("e2e", "e2e_latency"))
    for statistic in ("p90", "p95", "p99")
} | {"total_throughput": "total_throughput"}
_FIELDS = _NEEDED | _MORE

# What is worked out here from the times of each request.
_OURS = (
    "steady_itl_ms",
    "steady_p90_gap_ms",
    "steady_p95_gap_ms",
    "steady_p99_gap_ms",
    "steady_throughput",
    "goodput",
    "slo_attainment",
)
MEASURED = (*_FIELDS, *_OURS)
"""Every metric of a latency cell that a gate may judge."""

# The benchmark counts tokens at the last chunk with text, so an answer whose last tokens print
# as nothing seems shorter than it was: this share of the asked tokens must be seen.
_LEAST_SEEN = 0.95


class BadRunError(ValueError):
    """A run's file is not what the benchmark writes; the message says how."""


def bench_file(cell: Path, run: int) -> Path:
    """The file of the run-th run, counted from 1."""
    return cell / f"bench-{run}.jsonl"


def read_run(file: Path) -> dict[str, Any]:
    """The one result in a file; the benchmark appends, so two mean that it was used twice.

    Raises:
        BadRunError: It holds anything else, or lacks a field that is needed.
    """
    try:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        if len(lines) != 1:
            raise BadRunError(f"{file.name} holds {len(lines)} results instead of one")
        row = json.loads(lines[0])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadRunError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(row, dict):
        raise BadRunError(f"{file.name} holds no JSON object")
    _demand_fields(file, row)
    return row


def _demand_fields(file: Path, row: dict[str, Any]) -> None:
    for field in _NEEDED.values():
        if not _is_finite(row.get(field)):
            raise BadRunError(f"{file.name}: {field} is {row.get(field)!r}, not a number")
    for field in ("itls", "ttfts", "errors", "output_lens"):
        if not isinstance(row.get(field), list):
            raise BadRunError(f"{file.name} has no {field}: it needs --output-details")
    lists = all(isinstance(gaps, list) for gaps in row["itls"])
    if not lists or len(row["itls"]) != len(row["ttfts"]):
        raise BadRunError(f"{file.name}: itls is not one list for each request")
    if not _is_finite(row.get("duration")) or row["duration"] <= 0:
        raise BadRunError(f"{file.name}: duration is {row.get('duration')!r}, not a time")
    for field in ("completed", "total_output_tokens"):
        if not isinstance(row.get(field), int):
            raise BadRunError(f"{file.name}: {field} is {row.get(field)!r}, not a count")


def run_problem(
    row: dict[str, Any], *, prompts: int, output_tokens: int | None
) -> tuple[str, str] | None:
    """Class and reason why a run must not count, or None.

    Args:
        row: What :func:`read_run` gave.
        prompts: Requests that were to be made.
        output_tokens: Tokens that all answers together were to have; None when that varies.
    """
    failed = [error for error in row["errors"] if error]
    if failed or row["completed"] != prompts:
        first = f"; the first error: {str(failed[0]).strip()[-200:]}" if failed else ""
        return "errors", f"{row['completed']} of {prompts} requests completed{first}"
    gaps = sum(len(gaps) for gaps in row["itls"])
    if not gaps:
        return "no-gaps", "no gap between tokens was seen: the server did not stream"
    total = row["total_output_tokens"]
    if output_tokens is not None and not _LEAST_SEEN * output_tokens <= total <= output_tokens:
        return "short-output", f"{total} output tokens where {output_tokens} were asked"
    return None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run was to be.

    Attributes:
        prompts: Requests of each run.
        output_tokens: Tokens that all answers together were to have; None when that varies.
        concurrency: Requests that were kept in flight.
        goal: What a request must keep to be good; None: nobody asks.
    """

    prompts: int
    output_tokens: int | None
    concurrency: int
    goal: Goal | None = None


def read_cell(cell: Path, returncode: int, *, runs: int, skip: int, asked: Asked) -> Outcome:
    """What the benchmark's files say: each metric is the median over the runs that count.

    Args:
        cell: The cell's folder.
        returncode: Exit code of the process.
        runs: How many runs there should be.
        skip: How many of the first of them do not enter the medians.
        asked: What each of them was to be.
    """
    files = [bench_file(cell, run) for run in range(1, runs + 1)]
    present = [file for file in files if file.is_file()]
    artifacts = {file.stem: file.name for file in present}
    if returncode != 0 or len(present) < runs:
        return _unfinished(returncode, len(present), runs, artifacts)
    try:
        rows = [read_run(file) for file in files]
    except BadRunError as error:
        return Outcome(
            status="failed", failure_class="bad-output", reason=str(error), artifacts=artifacts
        )
    problems = [
        (problem[0], f"run {number}: {problem[1]}")
        for number, row in enumerate(rows, start=1)
        if (problem := run_problem(row, prompts=asked.prompts, output_tokens=asked.output_tokens))
    ]
    measured, windows = _measured(rows, asked)
    return Outcome(
        status="invalid" if problems else "ok",
        failure_class=problems[0][0] if problems else "",
        reason="; ".join(reason for _, reason in problems),
        metrics=_medians(measured[skip:]),
        counts=_counts(rows, asked.prompts),
        runs=measured,
        details={
            **_details(rows, skip=skip, output_tokens=asked.output_tokens),
            "full_batch": windows,
        },
        artifacts=artifacts,
    )


def _unfinished(returncode: int, present: int, runs: int, artifacts: dict[str, str]) -> Outcome:
    if returncode != 0:
        failure_class, end = "client-exit", f"the benchmark ended with code {returncode}"
    else:
        failure_class, end = "no-output", "the benchmark ended well"
    return Outcome(
        status="failed",
        failure_class=failure_class,
        reason=f"{end} and left {present} of {runs} result files, see job.log",
        counts={"runs": present},
        artifacts=artifacts,
    )


def _measured(
    rows: Sequence[dict[str, Any]], asked: Asked
) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Metrics of each run, and what is told of its full batch."""
    # It needs numpy, which the clients that import this package do without.
    from evals.latency.goodput import request_metrics

    theirs = [
        {name: float(row[field]) for name, field in _FIELDS.items() if _is_finite(row.get(field))}
        for row in rows
    ]
    ours = [request_metrics(row, asked.concurrency, asked.goal) for row in rows]
    made = [one | more for one, (more, _) in zip(theirs, ours, strict=True)]
    return made, [window for _, window in ours]


def _medians(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median over runs of each metric that all of them have."""
    names = [name for name in measured[0] if all(name in run for run in measured)]
    return {name: statistics.median(run[name] for run in measured) for name in names}


def _counts(rows: Sequence[dict[str, Any]], prompts: int) -> dict[str, int]:
    return {
        "runs": len(rows),
        "requests": prompts * len(rows),
        "completed": sum(row["completed"] for row in rows),
        "errors": sum(sum(bool(error) for error in row["errors"]) for row in rows),
        "output_tokens": sum(row["total_output_tokens"] for row in rows),
        "itls": sum(len(gaps) for row in rows for gaps in row["itls"]),
    }


def _details(
    rows: Sequence[dict[str, Any]], *, skip: int, output_tokens: int | None
) -> dict[str, Any]:
    first = rows[0]
    return {
        "client": first.get("servegate_client", "sglang.benchmark.serving"),
        "dropped_runs": skip,
        "output_tokens_asked_per_run": output_tokens,
        "dataset": first.get("dataset_name"),
        "input_tokens_per_run": first.get("total_input_tokens"),
        "concurrency_seen": [row.get("concurrency") for row in rows],
        "duration_s": [row.get("duration") for row in rows],
    }


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
