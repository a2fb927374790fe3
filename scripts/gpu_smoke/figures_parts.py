"""Figures of what a session left besides runs, as Markdown: probes, hang, float32, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from evals.comm_kernels.analysis.capture import Known, analyse
from scripts.gpu_smoke.figures_runs import NONE, table
from scripts.gpu_smoke.kept import newest_part, newest_run, source_of

__all__ = ["checkref", "doctor", "hang", "nsys", "probes"]


def probes(root: Path) -> list[str]:
    """What SGLang's profiler costs; seconds from TERM until memory and server were gone."""
    part = newest_part(root, "probes/probes.json")
    if part is None:
        return []
    found, source = part
    itls, release = found["profiler"], found["release"]
    cost = median(itls["during"]) / median(itls["before"])
    rows = [[when, _ms(itls[when])] for when in ("before", "during", "after")]
    freed = release["released_after_s"]
    told = (
        f"With the profiler on a token takes {cost:.2f} times as long. The GPU's memory was "
        f"{'not free a minute' if freed is None else f'free {freed:.1f} s'} after TERM, the server "
        f"gone after {release['stopped_after_s']:.1f} s."
    )
    head = ["profiler", "median ITL"]
    return [f"{source}; median ITL in ms of equal runs:", "", *table(head, rows), "", told]


def nsys(root: Path) -> list[str]:
    """A decode step as Nsight Systems saw it; ms."""
    found = sorted(root.glob("*/nsys/decode.sqlite"))
    if not found:
        return []
    seen = analyse([found[-1]], Known()).figures
    families = ", ".join(f"{name} {one.kernels_per_step:g}" for name, one in seen.families.items())
    told = (
        f"{seen.ranks} ranks, {seen.steps} steps: communication {_three(seen.with_imbalance_ms)} "
        f"ms a step, {_three(seen.without_imbalance_ms)} without imbalance ({families} kernels), "
        f"other kernels {_three(seen.other_kernels_ms)} ms; nothing runs for "
        f"{_three(seen.gaps_ms)} ms of a traced step's {_three(seen.step_ms)}."
    )
    return [f"{source_of(found[-1], root)}. {told}"]


def hang(root: Path) -> list[str]:
    """How a scheduler that was stopped with SIGSTOP ended, and what /proc said of it."""
    part, run = newest_part(root, "hang/hang.json"), newest_run(root, "h100-hang")
    if part is None or run is None:
        return []
    found, source = part
    [record] = run.records
    rows = [
        [
            str(one["pid"]),
            one["stack"]["state"].removeprefix("State:").strip(),
            _waiting(one["stack"]["threads"].values()),
            _innermost(one["stack"]["python"]),
        ]
        for one in found["stopped"]
    ]
    told = (
        f"The record of {run.source(root)} is `{record.status.value}`, class "
        f"`{record.failure_class}`; servegate ended with exit code {found['returncode']}, "
        f"{found['seconds_to_the_end']:.0f} s after the signal."
    )
    head = ["scheduler", "state", "threads in `do_signal_stop`", "main thread in"]
    return [f"{source}:", "", *table(head, rows), "", told]


def _three(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _waiting(threads: Any) -> str:  # noqa: ANN401 - values of a JSON object
    places = [one["wchan"] for one in threads]
    return f"{places.count('do_signal_stop')} of {len(places)}"


def _innermost(stack: str) -> str:
    """The function that the first thread of py-spy's dump is in."""
    lines = stack.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("Thread")), None)
    return NONE if first is None else f"`{lines[first + 1].strip().split(' ')[0]}`"


def checkref(root: Path) -> list[str]:
    """How far servers lie from float32, by variant."""
    part = newest_part(root, "checkref/agreement.json")
    if part is None:
        return []
    found, source = part
    rows = []
    for variant, prompts in found["variants"].items():
        means = [one["mean_error"] for one in prompts]
        gaps = [one["gap"] for one in prompts if one["gap"] is not None]
        rows.append(
            [
                variant,
                f"{len(prompts)} of {_span([one['length'] for one in prompts])} tokens",
                f"{min(means):.3f} to {max(means):.3f}",
                f"{max(one['max_error'] for one in prompts):.3f}",
                f"{len(gaps)}, within {max(gaps):.3f}" if gaps else "0",
                str(sum(one["verdict"] == "wrong" for one in prompts)),
            ]
        )
    head = ["variant", "prompts", "mean error", "largest", "answers that part, tie", "wrong"]
    return [f"{source}; errors in nats:", "", *table(head, rows), "", f"`{found['hypothesis']}`"]


def _span(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}"


def doctor(root: Path) -> list[str]:
    """What `servegate doctor` found on the host."""
    part = newest_part(root, "doctor.json")
    if part is None:
        return []
    found, source = part
    rows = [[one["name"], one["state"], one["found"]] for one in found["findings"]]
    return [f"{source}:", "", *table(["what", "state", "found"], rows)]


def _ms(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
