"""The power statement of an experiment: gate by gate what it detects, passes and costs; pure."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, exp, log

from scipy.special import ndtri

from evals.accuracy import AccuracySettings
from evals.metrics import METRICS
from pipeline.power.basis import (
    ASSUMED_SPREAD,
    Basis,
    JobBasis,
    accuracy_alarms,
    asked_times,
    assumed_difficulty,
    gated_launches,
    is_fraction,
    questions_of,
    speed_alarms,
)
from pipeline.power.cost import costs
from pipeline.power.impossible import impossible_gates
from pipeline.power.model import PowerStatement, ScorePower, SpeedPower
from pipeline.spec.experiment import Experiment
from pipeline.spec.gates import Gate
from pipeline.stats.launch_power import (
    launches_for,
    ratio_chances,
    smallest_ratio,
    smallest_sign_flip_p,
)
from pipeline.stats.power import (
    Comparison,
    chance_to_pass,
    equal_in_stages,
    repeats_for,
    smallest_drop,
    unseen_collapse,
)

__all__ = ["power_statement"]

# The usual choice for planning; the gate's own hints use it too.
POWER = 0.8


def power_statement(experiment: Experiment, basis: Basis | None = None) -> PowerStatement:
    """Simulate what the gates of an experiment can find and pass; some seconds a score.

    Args:
        experiment: A validated experiment.
        basis: What a run measured, by job; the rest is assumed, and said to be.
    """
    known: Basis = {} if basis is None else basis
    scores: list[ScorePower] = []
    speeds: list[SpeedPower] = []
    unknown: list[str] = []
    for job, gates in experiment.gates.items():
        for metric, gate in gates.items():
            why = _not_estimated(job, metric, experiment, known)
            if why:
                unknown.append(f"gates.{job}.{metric}: {why}")
            elif metric == "score":
                scores.append(_score(experiment, job, gate, known))
            else:
                speeds.append(_speed(experiment, job, metric, gate, known))
    bill = costs(experiment, known)
    hours = [cost.gpu_hours for cost in bill if cost.gpu_hours is not None]
    return PowerStatement(
        experiment=experiment.name,
        alpha=experiment.alpha,
        power=POWER,
        scores=scores,
        speeds=speeds,
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
        (METRICS[metric].unit == "nats", "how log-probabilities vary is not known beforehand"),
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
        difficulty=difficulty, questions=questions, repeats=samples, reference_repeats=samples,
        margin=gate.margin, alpha=experiment.alpha, alarms=accuracy_alarms(experiment),
    )  # fmt: skip
    staged = equal_in_stages(one, settings.stages) if settings.stages > 1 else (None, None)
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
        pass_chance=chance_to_pass(one, 0.0),
        smallest_drop=smallest_drop(one, POWER),
        unseen=unseen_collapse(questions, gate.margin),
        questions_needed=_questions_needed(one),
        samples_needed=repeats_for(one, questions, POWER),
        stages=settings.stages,
        staged_pass_chance=staged[0],
        staged_share=staged[1],
    )


def _questions_needed(one: Comparison) -> int:
    """The power formula of Miller, arXiv 2411.00640, for a true difference of zero, then simulated.

    Normal theory is too hopeful for few questions, so its number grows until the verdict agrees.
    """
    variance = one.difficulty.within * 2 / one.repeats
    quantiles = float(ndtri(1 - one.alpha)) + float(ndtri(POWER))
    needed = ceil(variance * (quantiles / one.margin) ** 2)
    needed = max(needed, ceil(float(ndtri(1 - one.alpha)) ** 2 / one.margin))
    for _ in range(12):
        if chance_to_pass(replace(one, questions=needed), 0.0, runs=500) >= POWER:
            break
        needed = ceil(needed * 1.1)
    return needed


def _speed(experiment: Experiment, job: str, metric: str, gate: Gate, known: Basis) -> SpeedPower:
    seen = known.get(job, JobBasis())
    measured = seen.spreads.get(metric)
    spread = ASSUMED_SPREAD if measured is None else measured
    lower_is_better = METRICS[metric].better == "lower"
    margin = log(1 + gate.margin) if lower_is_better else -log(1 - gate.margin)
    launches, alarms = gated_launches(job, experiment), speed_alarms(experiment)

    def chances(change: float) -> tuple[float, float]:
        return ratio_chances(
            launches, spread, margin, experiment.alpha, alarms=alarms, change=change
        )

    found = smallest_ratio(chances, POWER)
    change = None if found is None else exp(found) - 1 if lower_is_better else 1 - exp(-found)
    return SpeedPower(
        job=job,
        metric=metric,
        margin=gate.margin,
        launches=launches,
        spread=spread,
        source="assumed: launch medians that differ by 0.5 %" if measured is None else seen.source,
        alarms=alarms,
        pass_chance=chances(0.0)[0],
        smallest_change=change,
        smallest_p=smallest_sign_flip_p(launches),
        launches_needed=launches_for(spread, margin, experiment.alpha, POWER),
    )
