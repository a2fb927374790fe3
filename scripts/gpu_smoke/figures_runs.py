"""Figures of kept runs, as Markdown: speeds, answers, traces, starts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evals.comm_kernels.capture.files import FACTS, TRACES, trace_files
from evals.comm_kernels.outcome import outcome_of
from scripts.gpu_smoke.kept import KeptRun, newest_run

__all__ = ["NONE", "answers", "smoke", "smoke_verdicts", "starts", "table", "traces"]

NONE = "\N{EN DASH}"
"""Where there is no figure."""

_ITL = "median_itl_ms"
_TRACED = ("h100-traces", "h100-nsys", "h100x2-comm", "h100x2-nsys")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def smoke(root: Path) -> list[str]:
    """Median ITL of every run that counts and of every launch; how far equal launches lie apart."""
    run = newest_run(root, "h100-smoke")
    if run is None:
        return []
    rows, launches, spreads = [], dict[tuple[str, int], float](), []
    for record in run.records:
        runs = [one[_ITL] for one in record.runs[int(record.details["dropped_runs"]) :]]
        launches[record.arm, record.block] = record.metrics[_ITL]
        if record.arm != "slow":
            spreads.append(max(runs) / min(runs) - 1)
        told = " ".join(f"{one:.3f}" for one in runs)
        rows.append([str(record.block + 1), record.launch, told, f"{record.metrics[_ITL]:.3f}"])
    equal = [took for (arm, _), took in launches.items() if arm != "slow"]
    slow = {block: took for (arm, block), took in launches.items() if arm == "slow"}
    times = [
        f"{took / launches['reference', block]:.2f}"
        for block, took in sorted(slow.items())
        if ("reference", block) in launches
    ]
    text = (
        f"Of the equal arms, runs of one launch lie within {_percent(max(spreads))} of each other "
        f"and launches within {_percent(max(equal) / min(equal) - 1)}. The slow arm takes "
        f"{', '.join(times)} times as long, block by block, and its own launches lie within "
        f"{_percent(max(slow.values()) / min(slow.values()) - 1)}."
    )
    return [
        f"{run.source(root)}; median ITL in ms of the runs that count, and of the launch:",
        "",
        *table(["block", "launch", "runs", "launch"], rows),
        "",
        text,
    ]


def smoke_verdicts(root: Path) -> list[str]:
    """What servegate says of every arm, and its noise floor."""
    run = newest_run(root, "h100-smoke")
    if run is None:
        return []
    rows = []
    for row in run.report["rows"]:
        for check in row["checks"]:
            if check["metric"] == _ITL and check["against"] == "reference":
                seen = NONE
                if check["estimate"] is not None:
                    low, high = check["interval"]
                    seen = f"{check['estimate']:.4f} [{low:.4f}, {high:.4f}]"
                rows.append([row["arm"], seen, f"**{check['verdict']}**", check["reason"]])
    floors = [
        f"Noise floor of the median ITL, from {one['launches']} launches of {one['arm']}: "
        f"{_percent(one['floor'], 2)} (ratio {one['ratio']:.4f}, interval "
        f"{one['interval'][0]:.4f} to {one['interval'][1]:.4f})."
        for one in run.report["noise"]
        if one["metric"] == _ITL
    ] or ["No noise floor: the run is not complete."]
    return [
        f"{run.source(root)}; ratio to the reference's launches:",
        "",
        *table(["arm", "median ITL, ratio", "verdict", "reason"], rows),
        "",
        *floors,
    ]


def answers(root: Path) -> list[str]:
    """Scores and shifts of the arms that really answer."""
    run = newest_run(root, "h100-answers")
    if run is None:
        return []
    scores: dict[str, dict[str, Any]] = {}
    for record in run.records:
        scores.setdefault(record.arm, {})[record.job] = record.metrics.get("score")
    rows = []
    for row in run.report["rows"]:
        told = scores[row["arm"]]
        seen = {c["job"]: c for c in row["checks"] if c["gated"] and c["against"] == "reference"}
        rows.append(
            [
                row["arm"],
                _score(told["gsm8k"], seen.get("gsm8k")),
                _score(told["repeat"], seen.get("repeat")),
                _shift(seen.get("logprobs")),
                f"**{row['verdict']}**",
            ]
        )
    head = ["arm", "gsm8k-mini", "repeat-mini", "shift of log-probabilities", "verdict"]
    return [f"{run.source(root)}:", "", *table(head, rows)]


def _score(value: float, check: dict[str, Any] | None) -> str:
    told = f"{100 * value:.2f} %"
    if check is None or check["estimate"] is None:
        return told
    low, high = (100 * bound for bound in check["interval"])
    return f"{told}, {100 * check['estimate']:+.2f} points [{low:+.2f}, {high:+.2f}]"


def _shift(check: dict[str, Any] | None) -> str:
    if check is None or check["estimate"] is None:
        return NONE
    return f"{check['estimate']:.4f} nats"


def traces(root: Path) -> list[str]:
    """Kernels and times of a decode step, of every traced launch; ms."""
    head = [
        "run", "launch", "ranks", "steps", "kernels a step", "communication kernels",
        "communication, ms", "without imbalance, ms", "other kernels, ms", "nothing runs, ms",
        "traced step, ms", "sum of other kernels, ms",
    ]  # fmt: skip
    sources, rows = [], []
    for name in _TRACED:
        run = newest_run(root, name)
        if run is None:
            continue
        sources.append(f"- {run.source(root)}")
        rows += [[name, *cells] for cells in _traced(run)]
    return [*sources, "", *table(head, rows)] if rows else []


def _traced(run: KeptRun) -> Iterator[list[str]]:
    for record in run.records:
        cell = run.path / "launches" / record.launch / "cells" / record.job
        files = trace_files(cell / TRACES)
        if not files:
            continue
        found = outcome_of(files, json.loads((cell / FACTS).read_text(encoding="utf-8")))
        times = found.details["times"]
        yield [
            record.launch,
            str(times["ranks"]),
            str(times["steps"]),
            str(found.counts["kernels"]),
            f"{times['kernels_per_step']:g}",
            f"{times['with_imbalance_ms']:.3f}",
            _ms(times["without_imbalance_ms"]),
            _ms(times["other_kernels_ms"]),
            _ms(times["gaps_ms"]),
            _ms(times["step_ms"]),
            f"{times['compute_ms']:.3f}",
        ]


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def starts(root: Path) -> list[str]:
    """Seconds from a server's start to its first token, over the launches of all kept runs."""
    seconds: dict[str, list[float]] = {}
    for note in sorted(root.glob("*/runs/*/*/launches/*/launch.json")):
        ready = json.loads(note.read_text(encoding="utf-8"))["ready_s"]
        if ready is not None:
            seconds.setdefault(note.parents[3].name, []).append(ready)
    rows = [
        [
            name,
            str(len(took)),
            " to ".join(dict.fromkeys(f"{x:.0f}" for x in (min(took), max(took)))),
        ]
        for name, took in sorted(seconds.items())
    ]
    return table(["experiment", "launches", "start to first token, s"], rows)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"
