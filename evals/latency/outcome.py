"""What the serving benchmark left in a cell: one file a run, checked before it counts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.files import split_lines
from evals.job import Outcome
from evals.latency.checks import (
    Problem,
    is_number,
    is_time,
    request_problems,
    summary_problems,
    usable,
)
from evals.latency.client_load import LOAD_CLASSES, STARVED, ClientLoad, client_load, read_lag
from evals.latency.settings import Goal

__all__ = [
    "MEASURED",
    "Asked",
    "BadRunError",
    "bench_file",
    "lag_file",
    "read_cell",
    "read_run",
    "run_problems",
]

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


def lag_file(cell: Path, run: int) -> Path:
    """How late the client's loop was in that run, which the client writes beside its result."""
    return bench_file(cell, run).with_suffix(".lag.json")


def read_run(file: Path) -> dict[str, Any]:
    """The one result in a file; the benchmark appends, so two mean that it was used twice.

    Raises:
        BadRunError: It holds anything else, or lacks a field that is needed.
    """
    try:
        lines = [line for line in split_lines(file.read_bytes()) if line.strip()]
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
        if not is_number(row.get(field)):
            raise BadRunError(f"{file.name}: {field} is {row.get(field)!r}, not a number")
    for field in ("itls", "ttfts", "errors", "output_lens"):
        if not isinstance(row.get(field), list):
            raise BadRunError(f"{file.name} has no {field}: it needs --output-details")
    lists = all(isinstance(gaps, list) for gaps in row["itls"])
    if not lists or len(row["itls"]) != len(row["ttfts"]):
        raise BadRunError(f"{file.name}: itls is not one list for each request")
    if len(row["output_lens"]) != len(row["ttfts"]):
        raise BadRunError(f"{file.name}: output_lens is not one count for each request")
    if not is_time(row.get("duration")):
        raise BadRunError(f"{file.name}: duration is {row.get('duration')!r}, not a time")
    for field in ("completed", "total_output_tokens"):
        if not isinstance(row.get(field), int):
            raise BadRunError(f"{file.name}: {field} is {row.get(field)!r}, not a count")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run was to be.

    Attributes:
        prompts: Requests of each run.
        output_tokens: Tokens that all answers together were to have; None when that varies.
        concurrency: Requests that were kept in flight.
        goal: What a request must keep to be good; None: nobody asks.
        lengths: Fewest and most tokens of one answer; None: all alike, as `output_tokens` says.
    """

    prompts: int
    output_tokens: int | None
    concurrency: int
    goal: Goal | None = None
    lengths: tuple[int, int] | None = None

    def each(self) -> tuple[int, int] | None:
        """Fewest and most tokens of one answer; None: not known."""
        if self.lengths is not None or self.output_tokens is None:
            return self.lengths
        length = self.output_tokens // self.prompts
        return length, length


def run_problems(row: dict[str, Any], asked: Asked) -> list[Problem]:
    """Why a run must not count, whatever the load of the machine was; the first one names it.

    Args:
        row: What :func:`read_run` gave.
        asked: What it was to be.
    """
    prompts, listed = asked.prompts, len(row["ttfts"])
    failed = [error for error in row["errors"] if error]
    if failed or row["completed"] != prompts or listed != prompts:
        first = f"; the first error: {str(failed[0]).strip()[-200:]}" if failed else ""
        list_note = f"; {listed} are listed" if listed != prompts else ""
        done = f"{row['completed']} of {prompts} requests completed{list_note}{first}"
        return [Problem("errors", done)]
    found = request_problems(row, asked.each())
    total, tokens = row["total_output_tokens"], asked.output_tokens
    if not found and tokens is not None and not _LEAST_SEEN * tokens <= total <= tokens:
        return [Problem("short-output", f"{total} output tokens where {tokens} were asked")]
    return found or list(summary_problems(row, tuple(_FIELDS.values())))


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
    lags = (lag_file(cell, run) for run in range(1, runs + 1))
    artifacts |= {file.stem: file.name for file in lags if file.is_file()}
    if returncode != 0 or len(present) < runs:
        return _unfinished(returncode, len(present), runs, artifacts)
    try:
        rows = [read_run(file) for file in files]
    except BadRunError as error:
        return Outcome(
            status="failed", failure_class="bad-output", reason=str(error), artifacts=artifacts
        )
    measured, windows = _measured(rows, asked)
    loads = [
        client_load(row, read_lag(lag_file(cell, number)), window) if _has_times(row) else None
        for number, (row, window) in enumerate(zip(rows, windows, strict=True), start=1)
    ]
    problems = _problems(rows, loads, asked, skip)
    return Outcome(
        status="invalid" if problems else "ok",
        failure_class=_failure_class(problems),
        reason="; ".join(reason for _, reason in problems),
        metrics=_medians(measured[skip:]),
        counts=_counts(rows, asked.prompts),
        runs=measured,
        details={
            **_details(rows, skip=skip, output_tokens=asked.output_tokens),
            "full_batch": windows,
            "client_load": [None if load is None else load.model_dump() for load in loads],
        },
        artifacts=artifacts,
    )


def _has_times(row: dict[str, Any]) -> bool:
    return usable(row) and any(row["itls"])


def _problems(
    rows: Sequence[dict[str, Any]], loads: Sequence[ClientLoad | None], asked: Asked, skip: int
) -> list[Problem]:
    """Of all runs, the first one first; the load of a run that is dropped says nothing."""
    found: list[Problem] = []
    for number, (row, load) in enumerate(zip(rows, loads, strict=True), start=1):
        of_run = run_problems(row, asked)
        starved = "" if load is None or number <= skip else load.problem()
        if starved:
            of_run.append(Problem(STARVED, starved))
        found += [Problem(kind, f"run {number}: {reason}") for kind, reason in of_run]
    return found


def _failure_class(problems: Sequence[Problem]) -> str:
    """The first class; that of the load only where nothing else is wrong.

    A starved machine also makes a server late, which then sends several tokens in one event: that
    alone is no other fault.
    """
    kinds = [problem.failure_class for problem in problems]
    if STARVED in kinds:
        kinds = [kind for kind in kinds if kind != "unseen-tokens"]
    return next((kind for kind in kinds if kind not in LOAD_CLASSES), kinds[0] if kinds else "")


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
        {name: float(row[field]) for name, field in _FIELDS.items() if is_number(row.get(field))}
        for row in rows
    ]
    unusable = {"problem": "a request has a time that is not finite and positive"}
    ours = [
        request_metrics(row, asked.concurrency, asked.goal) if usable(row) else ({}, unusable)
        for row in rows
    ]
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
        "retokenized_tokens_per_run": first.get("total_output_tokens_retokenized"),
        "concurrency_seen": [row.get("concurrency") for row in rows],
        "duration_s": [row.get("duration") for row in rows],
    }
