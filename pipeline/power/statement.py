"""The power statement of an experiment: gate by gate what it detects, passes and costs; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Literal

from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri

from evals.accuracy.job import AccuracySettings
from evals.latency.job import LatencySettings
from evals.metrics import METRICS, is_fraction
from pipeline.experiment.gates import Gate
from pipeline.experiment.model import Experiment
from pipeline.power.basis import (
    ASSUMED_START_S,
    POWER,
    Basis,
    JobBasis,
    accuracy_alarms,
    asked_times,
    assumed_difficulty,
    assumed_pace,
    gated_launches,
    layouts_of,
    questions_of,
)
from pipeline.power.impossible import impossible_gates
from pipeline.power.speeds import SpeedPower, speed_powers
from pipeline.stats.decision import questions_to_pass, unseen_collapse
from pipeline.stats.power import (
    Comparison,
    Rates,
    operating_curve,
    rates,
    repeats_for,
    smallest_drop,
)

# Of a request in flight; the prompts of a wave are taken to cost as much again as a tenth of it.
_ITL_S = 0.025
_PREFILL = 1.1


class Cost(BaseModel):
    """What one job takes over all arms, layouts and launches; or the starts of the servers.

    Attributes:
        hours: Of servers, one after another; None: not known.
        gpu_hours: Hours times the GPUs of each layout; None: not known.
        told: What was assumed or measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    hours: float | None
    gpu_hours: float | None
    told: str


def costs(experiment: Experiment, basis: Basis) -> list[Cost]:
    """By job, and the starts of servers as ``server starts``; none where no GPU serves."""
    if experiment.engine.device != "cuda" or experiment.engine.name != "sglang":
        return []
    layouts, arms = layouts_of(experiment), len(experiment.arms)
    made: list[Cost] = []

    def add(job: str, seconds: float | None, launches: int, told: str) -> None:
        each = None if seconds is None else seconds * launches * arms / 3600
        made.append(
            Cost(
                job=job,
                hours=None if each is None else each * len(layouts),
                gpu_hours=None if each is None else each * sum(layouts),
                told=told,
            )
        )

    for name, job in experiment.jobs.items():
        launches = gated_launches(name, experiment)
        if isinstance(job, AccuracySettings):
            add(name, *_accuracy(name, job, experiment, basis, launches))
        elif isinstance(job, LatencySettings):
            waves = -(-job.num_prompts // job.concurrency)
            seconds = job.runs * waves * job.output_len * _ITL_S * _PREFILL
            add(name, seconds, launches, f"assumed: {1000 * _ITL_S:g} ms between tokens")
        else:
            add(name, None, launches, "not estimated: short beside a start")
    told = f"assumed: {ASSUMED_START_S:g} s from start to first token"
    add("server starts", ASSUMED_START_S, experiment.launches, told)
    return made


def _accuracy(
    name: str, job: AccuracySettings, experiment: Experiment, basis: Basis, launches: int
) -> tuple[float | None, int, str]:
    """Seconds on one server, launches, and what that rests on."""
    questions = questions_of(name, experiment, basis)
    if questions is None:
        return None, launches, "not known how many questions there are; set examples"
    seen = basis.get(name, JobBasis())
    if seen.tokens is not None and seen.tokens_per_s is not None:
        tokens, rate = seen.tokens, seen.tokens_per_s
        told = f"measured: {tokens:.0f} tokens an answer, {rate:.0f} tokens/s a server"
    else:
        tokens, rate, told = assumed_pace(job)
    return questions * job.repeats * tokens / rate, launches, told


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OperatingPoint(_Frozen):
    """How a comparison ends at one true loss; simulated, so within some 3 points.

    Attributes:
        margins: The loss, spread over all questions, in margins of the gate.
        passes: Chance that it passes; at one margin that is a false pass.
        regressed: Chance that it is regressed, at the error rate shared by all `alarms`.
        inconclusive: Chance of neither.
        asked: Mean share of the questions that the arm is asked.
    """

    margins: float
    passes: float
    regressed: float
    inconclusive: float
    asked: float


class ScorePower(_Frozen):
    """One gated score. Fractions are of 1; None: cannot be reached.

    Attributes:
        questions: Asked in each arm on each layout.
        samples: Answers to each of them: repeats times launches.
        score: Assumed or measured.
        within: Variance of one answer of one question, likewise.
        source: Where these are from.
        alarms: Comparisons of scores in the whole experiment that share alpha.
        pass_chance: Chance that an arm without any difference passes.
        smallest_drop: Found with a chance of 80 %.
        unseen: Chance that a loss of the margin, whole on a few questions, meets none of those
            asked.
        questions_needed: About how many, at these samples, pass an equal arm 80 % of the time.
        samples_needed: Least number, at these questions, that does so.
        stages: In how many stages they are asked; the chances above are those of one look, and the
            smallest drop is found earlier or at the end.
        staged_pass_chance: As `pass_chance`, asked in these stages; None where there is one.
        staged_share: Mean share of the questions that an equal arm is then asked.
        operating: Verdicts at losses of 0 to 2 margins, asked all at once.
        staged_operating: The same in these stages; None where there is one.
    """

    job: str
    metric: str
    margin: float
    questions: int
    samples: int
    score: float
    within: float
    source: str
    alarms: int
    pass_chance: float
    smallest_drop: float | None
    unseen: float
    questions_needed: int
    samples_needed: int | None
    stages: int
    staged_pass_chance: float | None
    staged_share: float | None
    operating: list[OperatingPoint]
    staged_operating: list[OperatingPoint] | None


class PowerStatement(_Frozen):
    """What an experiment can show.

    Attributes:
        alpha: One-sided error rate of every gate.
        power: The chance that "found" means.
        scores: Gated scores.
        speeds: Gated latencies and throughputs.
        costs: By job, and the starts of servers.
        gpu_hours: Sum of those that are known; None where no GPU serves.
        impossible: Gates that can never fire or never pass, and what would.
        not_estimated: Gates of which nothing is said, and why.
    """

    schema_version: Literal[1] = 1
    experiment: str
    alpha: float
    power: float
    scores: list[ScorePower]
    speeds: list[SpeedPower]
    costs: list[Cost]
    gpu_hours: float | None
    impossible: list[str]
    not_estimated: list[str]


def power_statement(experiment: Experiment, basis: Basis | None = None) -> PowerStatement:
    """Simulate what the gates of an experiment can find and pass; some seconds a score.

    Args:
        experiment: A validated experiment.
        basis: What a run measured, by job; the rest is assumed, and said to be.
    """
    known: Basis = {} if basis is None else basis
    scores: list[ScorePower] = []
    unknown: list[str] = []
    for job, gates in experiment.gates.items():
        for metric, gate in gates.items():
            why = _not_estimated(job, metric, experiment, known)
            if why:
                unknown.append(f"gates.{job}.{metric}: {why}")
            elif metric == "score":
                scores.append(_score(experiment, job, gate, known))
    bill = costs(experiment, known)
    hours = [cost.gpu_hours for cost in bill if cost.gpu_hours is not None]
    return PowerStatement(
        experiment=experiment.name,
        alpha=experiment.alpha,
        power=POWER,
        scores=scores,
        speeds=speed_powers(experiment, known),
        costs=bill,
        gpu_hours=sum(hours) if hours else None,
        impossible=impossible_gates(experiment, known),
        not_estimated=unknown,
    )


def _not_estimated(job: str, metric: str, experiment: Experiment, known: Basis) -> str:
    unsized = metric == "score" and questions_of(job, experiment, known) is None
    alone = not is_fraction(metric) and gated_launches(job, experiment) < 2
    reasons = (
        (len(experiment.arms) < 2, "there is only the reference arm"),
        (unsized, "how many questions there are is not known; set examples"),
        (
            is_fraction(metric) and metric != "score",
            "how often this happens, and how much that varies, is not known beforehand",
        ),
        (
            METRICS[metric].compared_as == "shift",
            "how log-probabilities vary is not known beforehand",
        ),
        (alone, "one launch an arm shows no spread"),
    )
    return next((why for holds, why in reasons if holds), "")


def _score(experiment: Experiment, job: str, gate: Gate, known: Basis) -> ScorePower:
    settings = experiment.jobs[job]
    assert isinstance(settings, AccuracySettings)
    questions = questions_of(job, experiment, known)
    assert questions is not None
    seen = known.get(job, JobBasis())
    difficulty, source = (
        (seen.difficulty, seen.source)
        if seen.difficulty is not None
        else assumed_difficulty(settings.benchmark)
    )
    samples = asked_times(job, experiment)
    one = Comparison(
        difficulty=difficulty,
        questions=questions,
        repeats=samples,
        reference_repeats=samples,
        margin=gate.margin,
        alpha=experiment.alpha,
        alarms=accuracy_alarms(experiment),
    )
    fixed = operating_curve(one)
    staged = operating_curve(one, stages=settings.stages) if settings.stages > 1 else None
    return ScorePower(
        job=job,
        metric="score",
        margin=gate.margin,
        questions=questions,
        samples=samples,
        score=difficulty.score,
        within=difficulty.within,
        source=source,
        alarms=one.alarms,
        pass_chance=fixed[0.0].passes,
        smallest_drop=smallest_drop(one, POWER),
        unseen=unseen_collapse(questions, gate.margin),
        questions_needed=_questions_needed(one),
        samples_needed=repeats_for(one, questions, POWER),
        stages=settings.stages,
        staged_pass_chance=None if staged is None else staged[0.0].passes,
        staged_share=None if staged is None else staged[0.0].asked,
        operating=_points(fixed),
        staged_operating=None if staged is None else _points(staged),
    )


def _points(curve: Mapping[float, Rates]) -> list[OperatingPoint]:
    return [
        OperatingPoint(
            margins=margins,
            passes=ends.passes,
            regressed=ends.regressed,
            inconclusive=1 - ends.passes - ends.regressed,
            asked=ends.asked,
        )
        for margins, ends in curve.items()
    ]


def _questions_needed(one: Comparison) -> int:
    """The power formula of Miller, arXiv 2411.00640, for a true difference of zero, then simulated.

    Normal theory is too hopeful for few questions, so its number grows until the verdict agrees.
    """
    variance = one.difficulty.within * 2 / one.repeats
    quantiles = float(ndtri(1 - one.alpha)) + float(ndtri(POWER))
    needed = ceil(variance * (quantiles / one.margin) ** 2)
    needed = max(needed, questions_to_pass(one.margin, one.alpha))
    for _ in range(12):
        if rates(replace(one, questions=needed), 0.0, runs=500).passes >= POWER:
            break
        needed = ceil(needed * 1.1)
    return needed
