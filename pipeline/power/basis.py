"""What is known or assumed of a model before it is asked: variances, tokens and pace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

from evals import JOBS
from evals.accuracy.job import AccuracySettings
from pipeline.experiment import comparisons
from pipeline.experiment.gates import followed
from pipeline.experiment.model import Experiment
from pipeline.stats.power import Difficulty

__all__ = [
    "ASSUMED_START_S",
    "BENCHMARK_SIZES",
    "POWER",
    "Basis",
    "JobBasis",
    "accuracy_alarms",
    "asked_times",
    "assumed_difficulty",
    "assumed_pace",
    "assumed_spread",
    "gated_launches",
    "layouts_of",
    "most_launches",
    "questions_of",
    "speed_alarms",
]

BENCHMARK_SIZES: Mapping[str, int] = {
    "gsm8k": 1319,
    "gpqa": 198,
    "aime24": 30,
    "aime25": 30,
    "aime26": 30,
    "mmlu": 14042,
    "mmlu_pro": 12032,
    "mmmu_pro": 1730,
    "mmmu_pro_vision": 1730,
}
"""Questions of the public test sets (GPQA: diamond)."""

# Scores as in the study of sglang#23713 (98 % and 86.5 to 87.3 %); it published no answers, so the
# variance inside a question is the middle of what Beta-distributed chances give for such scores
# (0.008 to 0.016 and 0.03 to 0.06). The others are guesses for strong models.
_STUDY = "score of sglang#23713, variance of Beta-distributed difficulty; no answers are published"
_GUESS = "a guess for a strong model"
_DIFFICULTIES: Mapping[str, tuple[float, float, str]] = {
    "gsm8k": (0.98, 0.012, _STUDY),
    "gpqa": (0.868, 0.045, _STUDY),
    "mmlu": (0.88, 0.02, _GUESS),
    "mmlu_pro": (0.85, 0.03, _GUESS),
}
_OTHER = (0.85, 0.05, _GUESS)

# The usual choice for planning; the gate's own hints use it too.
POWER = 0.8

# Standard deviation of the logarithm over launches of one arm. For ITL more than the 0.2 % of the
# launches on an H100 of which docs/latency.md has the table; for the others what they showed.
_SPREAD_OF_ITL = 0.005
_SPREADS: Mapping[str, float] = {
    "median_tpot_ms": 0.014,
    "median_e2e_ms": 0.03,
    "median_ttft_ms": 0.10,
    **{f"{name}_throughput": 0.031 for name in ("output", "total", "request", "steady")},
    "p90_itl_ms": 0.031,
    "p95_itl_ms": 0.07,
    "p99_itl_ms": 0.38,
    "steady_p90_gap_ms": 0.026,
    "steady_p95_gap_ms": 0.053,
    "steady_p99_gap_ms": 0.43,
    **{f"{rank}_{name}_ms": 0.09 for rank in ("p90", "p95", "p99") for name in ("tpot", "ttft")},
    **{f"{rank}_e2e_ms": 0.07 for rank in ("p90", "p95", "p99")},
}
# From the start of a server to its first token: weights of some hundred GB, graphs, compilation.
ASSUMED_START_S = 600.0
# One token every 25 ms and request; tokens of an answer without and with thinking.
_TOKENS_PER_S = 40.0
_SHORT, _LONG, _THINKS = 300.0, 10_000.0, 16_384


@dataclass(frozen=True, kw_only=True)
class JobBasis:
    """What a run showed of one job; None where it did not show it.

    Attributes:
        difficulty: Score and variance inside a question.
        tokens: Mean tokens of an answer.
        tokens_per_s: Of one server at the job's concurrency.
        questions: How many were asked.
        spreads: Of log differences of launches inside a block, by metric.
        source: Where it is from.
    """

    difficulty: Difficulty | None = None
    tokens: float | None = None
    tokens_per_s: float | None = None
    questions: int | None = None
    spreads: Mapping[str, float] = field(default_factory=dict)
    source: str = ""


Basis = Mapping[str, JobBasis]
"""By job. What it lacks is assumed."""


def assumed_difficulty(benchmark: str) -> tuple[Difficulty, str]:
    """Difficulty of a benchmark for a strong model, and where the numbers are from."""
    score, within, source = _DIFFICULTIES.get(benchmark, _OTHER)
    return Difficulty(score=score, within=within), f"assumed: {source}"


def assumed_spread(metric: str) -> tuple[float, str]:
    """Spread of the log difference of two launches in a speed, and what was assumed."""
    spread = _SPREADS.get(metric, _SPREAD_OF_ITL)
    return sqrt(2) * spread, f"assumed: launches that differ by {100 * spread:.2g} %"


def assumed_pace(job: AccuracySettings) -> tuple[float, float, str]:
    """Tokens of an answer, tokens a second of a server, and what was assumed."""
    tokens = min(float(job.max_tokens), _LONG if job.max_tokens >= _THINKS else _SHORT)
    rate = _TOKENS_PER_S * job.concurrency
    told = f"assumed: {tokens:g} tokens an answer, {_TOKENS_PER_S:g} tokens/s a request in flight"
    return tokens, rate, told


def questions_of(name: str, experiment: Experiment, basis: Basis) -> int | None:
    """How many questions a job asks; None for local data that nobody counted."""
    job = experiment.jobs[name]
    if not isinstance(job, AccuracySettings):
        return None
    if job.examples is not None:
        return job.examples
    counted = basis.get(name, JobBasis()).questions
    if counted is not None:
        return counted
    return None if job.data is not None else BENCHMARK_SIZES.get(job.benchmark)


def gated_launches(name: str, experiment: Experiment) -> int:
    """Launches of each arm and layout on which a job runs."""
    launches = experiment.jobs[name].launches
    if JOBS[experiment.jobs[name].kind].alone:
        return 1 if launches is None else launches  # on launches of its own
    return experiment.launches if launches is None else min(launches, experiment.launches)


def most_launches(name: str, experiment: Experiment) -> int:
    """Launches of a job, with those that it may buy."""
    if experiment.sequential is not None and name in followed(experiment.jobs):
        return experiment.sequential.max_launches
    return gated_launches(name, experiment)


def asked_times(name: str, experiment: Experiment) -> int:
    """Answers to each question in each arm: repeats times launches."""
    job = experiment.jobs[name]
    assert isinstance(job, AccuracySettings)
    return job.repeats * gated_launches(name, experiment)


def layouts_of(experiment: Experiment) -> list[int]:
    """GPUs of every layout, each attention DP size a layout of its own."""
    return [layout.tp for layout in experiment.layouts for _ in layout.attention_dp]


def accuracy_alarms(experiment: Experiment) -> int:
    """Comparisons of fractions that share alpha (:mod:`pipeline.experiment.comparisons`)."""
    layouts = len(layouts_of(experiment))
    return comparisons.accuracy_alarms(experiment.gates, layouts=layouts, arms=len(experiment.arms))


def speed_alarms(experiment: Experiment) -> int:
    """Comparisons of latency and throughput that share alpha."""
    layouts = len(layouts_of(experiment))
    return comparisons.speed_alarms(experiment.gates, layouts=layouts, arms=len(experiment.arms))
