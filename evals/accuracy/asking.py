"""How sgl-eval words a benchmark's questions and sums up its samples, without its graders.

sgl-eval 0.1.3 marks inside of ``EvalSpec.run``, so its runner is called with the parts of it that
ask. The version is pinned, and tests ask benchmarks of both kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import yaml

from evals.accuracy.marking.marker import KINDS

if TYPE_CHECKING:
    from sgl_eval.runner import SampleFn
    from sgl_eval.types import ExampleResult, GenConfig

    from evals.accuracy.samplers import GuardedSampler

__all__ = ["aggregate_of", "asking"]


def asking(
    benchmark: str, sampler: GuardedSampler, gen: GenConfig, prompt: Path | None
) -> SampleFn:
    """What asks one question once.

    Args:
        benchmark: Its name.
        sampler: What sends the messages.
        gen: How answers are sampled.
        prompt: A prompt file; None: sgl-eval's own for the benchmark.
    """
    from sgl_eval.evals import _math, _multichoice

    path = _default_prompt(benchmark) if prompt is None else prompt
    if KINDS[benchmark].name == "choice":
        return cast("SampleFn", _multichoice.make_sample_fn(sampler, gen, path))
    system = yaml.safe_load(path.read_text(encoding="utf-8")).get("system")
    if system is not None:
        gen = replace(gen, system_message=system.format())
    return cast("SampleFn", _math.make_sample_fn(sampler, gen, path))


def aggregate_of(repeats: int) -> Callable[[list[ExampleResult]], dict[str, float]] | None:
    """sgl-eval's summary of repeated samples (pass@k, majority@k); None for one, as it has it."""
    from sgl_eval.evals import _math

    if repeats == 1:
        return None
    return lambda results: dict(_math.aggregate_with_math_metrics(results, repeats))


def _default_prompt(benchmark: str) -> Path:
    from sgl_eval.evals._prompts import resolve_prompt
    from sgl_eval.evals._registry import _TABLE, _resolve_upstream_metadata

    entry = next(row for row in _TABLE if row["name"] == benchmark)
    path: Path = resolve_prompt(entry.get("prompt") or _resolve_upstream_metadata(benchmark)[1])
    return path
