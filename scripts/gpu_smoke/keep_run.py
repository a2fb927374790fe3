"""Copies a run folder small and clean, and proves that its report says the same afterwards."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.comm_kernels.analysis.capture import Known, analyse
from evals.comm_kernels.capture.files import trace_files
from evals.comm_kernels.outcome import document
from pipeline.premises.log_patterns import SIGNS
from pipeline.records.folder import LaunchFolder, RunFolder
from pipeline.report.build import build, write
from scripts.gpu_smoke import small, small_sets
from scripts.gpu_smoke.clean import Cleaner
from scripts.gpu_smoke.small_nsys import nsys

__all__ = [
    "TRACE_LIMIT_BYTES",
    "Change",
    "KeepError",
    "as_it_is",
    "differing",
    "keep_files",
    "keep_run",
]

TRACE_LIMIT_BYTES = 100_000
_EXPORT_LIMIT_BYTES = 400_000
_CLOSE = 1e-6
"""Relative difference of a figure that shortest decimals of a float32 may make."""

Change = Callable[[str], str]


class KeepError(RuntimeError):
    """What was asked for cannot be kept; the message says which file, and what to do."""


def as_it_is(text: str) -> str:
    """The text."""
    return text


# What a report needs of a run, and how each file is made small.
_RUN: dict[str, Change] = {
    "plan.json": small.compact,
    "experiment.yaml": as_it_is,
    "provenance.json": as_it_is,
    "events.jsonl": as_it_is,
    "launches/*/launch.json": as_it_is,
    "launches/*/facts.json": small.facts,
    "launches/*/witness-rank*.json": as_it_is,
    "launches/*/cells/*/record.json": as_it_is,
    "launches/*/cells/*/stop.json": as_it_is,
    "launches/*/cells/*/traced.json": as_it_is,
}
# Small only together, over all launches of a job.
_SETS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "answers.jsonl": small_sets.answers,
    "logprobs.jsonl": small_sets.trails,
}
# Of one launch of a run, where something was timed or several GPUs were used.
_ONCE: dict[str, Change] = {
    "server_info.json": small.compact,
    "server.log": small.log,
    "cells/*/bench-2.jsonl": small.bench_result,
}
# Runs whose pages are shown; of the others the Markdown is enough.
_PAGES = ("h100-smoke",)


def keep_run(run: Path, kept: Path, cleaner: Cleaner) -> None:
    """Write `kept` anew, with its report.

    Raises:
        KeepError: A trace is too large, or servegate reads other figures from what is kept.
        pipeline.records.record.RecordError: The run is damaged.
    """
    shutil.rmtree(kept, ignore_errors=True)
    keep_files(run, kept, _RUN, cleaner)
    for name, change in _SETS.items():
        for job in sorted({path.parent.name for path in run.glob(f"launches/*/cells/*/{name}")}):
            paths = sorted(run.glob(f"launches/*/cells/{job}/{name}"))
            made = change([_clean(path, cleaner) for path in paths])
            for path, text in zip(paths, made, strict=True):
                _place(kept / path.relative_to(run), text.encode())
    _keep_once(run, kept, cleaner)
    for folder in sorted(run.glob("launches/*/cells/*/traces")):
        _keep_traces(folder, kept / folder.relative_to(run))
    _demand_equal(run, _report(run, cleaner), build(RunFolder(kept)).document())
    write(RunFolder(kept))
    if run.parent.name not in _PAGES:
        RunFolder(kept).report_html.unlink()


def keep_files(source: Path, kept: Path, files: Mapping[str, Change], cleaner: Cleaner) -> None:
    """Copy what matches each pattern, clean and then made small."""
    for pattern, change in files.items():
        for path in sorted(source.glob(pattern)):
            _place(kept / path.relative_to(source), change(_clean(path, cleaner)).encode())


def _keep_once(run: Path, kept: Path, cleaner: Cleaner) -> None:
    """What is kept of the first launch whose record is good."""
    for path in sorted(run.glob("launches/*/cells/*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] == "ok" and (record["kind"] == "latency" or record["layout"]["tp"] > 1):
            launch = run / "launches" / record["launch"]
            place = kept / launch.relative_to(run)
            keep_files(launch, place, _ONCE, cleaner)
            if LaunchFolder(launch).log_signs(SIGNS) != LaunchFolder(place).log_signs(SIGNS):
                raise KeepError(f"{launch / 'server.log'}: lost lines that premises look for")
            return


def _keep_traces(folder: Path, kept: Path) -> None:
    for path in trace_files(folder):
        try:
            if path.suffix == ".sqlite":
                nsys(path, kept / path.name)
            else:
                _place(kept / f"{path.name.removesuffix('.gz')}.gz", small.trace(path.read_bytes()))
        except (ValueError, sqlite3.Error) as error:
            raise KeepError(f"{path}: {error}; leave its run out with --run") from error
    for path in trace_files(kept):
        size = path.stat().st_size
        limit = _EXPORT_LIMIT_BYTES if path.suffix == ".sqlite" else TRACE_LIMIT_BYTES
        if size > limit:
            raise KeepError(f"{folder / path.name}: {size} bytes when trimmed, more than {limit}")
    _demand_equal(folder, _figures(folder), _figures(kept))


def _report(run: Path, cleaner: Cleaner) -> Mapping[str, Any]:
    """The report from everything that it reads, clean but not made small."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder)
        wanted = (*_RUN, *(f"launches/*/cells/*/{name}" for name in _SETS))
        keep_files(run, whole, dict.fromkeys(wanted, as_it_is), cleaner)
        return build(RunFolder(whole)).document()


def _figures(folder: Path) -> Mapping[str, Any]:
    return document(analyse(trace_files(folder), Known()).figures)


def _demand_equal(source: Path, whole: Any, kept: Any) -> None:  # noqa: ANN401 - JSON
    found = next(differing(whole, kept), None)
    if found is not None:
        raise KeepError(f"{source}: made small, servegate reads something else from it: {found}")


def differing(one: Any, other: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """Where two JSON values differ: floats by over a millionth, NaN from all that is not NaN."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key, value in one.items():
            yield from differing(value, other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f"{where} has {len(other)} entries where {len(one)} were"
        for number, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from differing(left, right, f"{where}[{number}]")
    elif isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        if not both_nan and not math.isclose(one, other, rel_tol=_CLOSE):
            yield f"{where} is {other} and was {one}"
    elif one != other:
        yield f"{where} is {str(other)[:200]} and was {str(one)[:200]}"


def _clean(path: Path, cleaner: Cleaner) -> str:
    return cleaner.text(path.read_text(encoding="utf-8", errors="replace"))


def _place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
