"""Gates that can never fire or never pass, whatever the arms do, and what would; pure."""

from __future__ import annotations

from math import ceil, log, log1p, log2, sqrt

import numpy as np
from scipy.special import ndtri, stdtrit

from evals.accuracy.job import AccuracySettings
from evals.metrics import METRICS, is_fraction
from pipeline.experiment.gates import Gate
from pipeline.experiment.model import Experiment
from pipeline.power.basis import (
    Basis,
    JobBasis,
    accuracy_alarms,
    asked_times,
    gated_launches,
    layouts_of,
    most_launches,
    questions_of,
)
from pipeline.stats import decision
from pipeline.stats.group_sequential import make_design
from pipeline.stats.launch_power import smallest_sign_flip_p
from pipeline.stats.launches import LEAST_SPREAD
from pipeline.stats.paired import difference_of
from pipeline.stats.power import Difficulty
from pipeline.stats.proportions import mean_score
from pipeline.stats.reach import out_of_reach


def replicate_notes(experiment: Experiment) -> list[str]:
    """Speeds whose launches are few for a test.

    A verdict is Student's t and can be had from two launches on, but what then lies behind it is
    that launches differ as a normal distribution says. Without that faith all that so many blocks
    can show is the p-value of their signs.
    """
    if len(experiment.arms) < 2:
        return []
    enough = ceil(-log2(experiment.alpha))
    few: dict[int, list[str]] = {}
    for job, gates in experiment.gates.items():
        launches = gated_launches(job, experiment)
        speeds = [name for name in gates if METRICS[name].compared_as == "ratio"]
        if speeds and 1 < launches < enough:
            few.setdefault(launches, []).append(job)
    return [
        f"launches: the smallest p that {launches} blocks show without trusting a normal "
        f"distribution is {smallest_sign_flip_p(launches):.2g}, and alpha is "
        f"{experiment.alpha:g}; {enough} launches need no such trust ({', '.join(jobs)})"
        for launches, jobs in few.items()
    ]


def impossible_gates(experiment: Experiment, basis: Basis | None = None) -> list[str]:
    """Every gate that cannot do its work in this experiment: where, why, and what would help.

    Args:
        experiment: A validated experiment.
        basis: Numbers of questions that the experiment file does not say (local data). Where a
            number is unknown, nothing is said of the gate.
    """
    known = {} if basis is None else basis
    found: list[str] = []
    for job, gates in experiment.gates.items():
        for metric, gate in gates.items():
            where = f"gates.{job}.{metric}"
            questions = questions_of(job, experiment, known)
            told: list[str] = []
            if is_fraction(metric) and questions is not None:
                samples = asked_times(job, experiment)
                told += _margin(experiment, job, gate, questions, samples)
                seen = known.get(job, JobBasis()).difficulty if metric == "score" else None
                told += [] if seen is None else _reach(experiment, gate, seen, questions, samples)
                told += _floor(experiment, gate, questions, METRICS[metric].better)
            elif METRICS[metric].compared_as == "ratio":
                told += _ratio(experiment, metric, gate, most_launches(job, experiment))
            if len(experiment.arms) < 2 and gate.floor is None:
                told.append(
                    "can never pass or fire: there is only the reference arm, and no floor to "
                    "hold it against; add an arm"
                )
            found += [f"{where}: {text}" for text in told]
    return found


def _margin(
    experiment: Experiment, job: str, gate: Gate, questions: int, samples: int
) -> list[str]:
    if len(experiment.arms) < 2:
        return []
    told: list[str] = []
    alpha = _last_level(experiment, job, gate, questions)
    # A loss confined to few questions can be missed however often each of them is asked.
    excluded = 1 - experiment.alpha ** (1 / questions)
    needed = decision.questions_to_pass(gate.margin, experiment.alpha)
    # Asked several times, sampled answers differ a little on many questions, and that shows more.
    if samples == 1:
        excluded = max(excluded, -difference_of(np.zeros(questions), alpha).interval.lower)
        square = float(ndtri(1 - alpha)) ** 2
        needed = max(needed, ceil(square * (1 - gate.margin) / gate.margin) + 1)
    if questions < needed:
        told.append(
            f"can never pass an arm that answers just as the reference: {questions} questions "
            f"exclude no loss below {excluded:.2%}, and margin is {gate.margin:.2%}; "
            f"ask at least {needed} questions, or allow a margin above {excluded:.4f}"
        )
    alarms = accuracy_alarms(experiment)
    lost = difference_of(-np.ones(questions), experiment.alpha)
    if lost.p_lower * alarms >= experiment.alpha:
        needed = int(log(alarms / experiment.alpha) / log(2)) + 1
        told.append(
            f"can never fire: with {questions} questions and {alarms} comparisons even the loss of "
            f"every answer has p {min(1.0, lost.p_lower * alarms):.2g} after Holm, and alpha is "
            f"{experiment.alpha:g}; ask at least {needed} questions"
        )
    return told


def _reach(
    experiment: Experiment, gate: Gate, seen: Difficulty, questions: int, samples: int
) -> list[str]:
    """Whether a reference that scores as in an earlier run leaves anything to lose."""
    if len(experiment.arms) < 2:
        return []
    alarms = accuracy_alarms(experiment)
    why = out_of_reach(
        seen.score, questions, gate.margin, experiment.alpha, comparisons=alarms, repeats=samples
    )
    return [f"can never fire: {why}; lower the margin, or ask what it can answer"] if why else []


def _last_level(experiment: Experiment, job: str, gate: Gate, questions: int) -> float:
    """Error rate at which a loss of the margin must be excluded at the latest."""
    settings = experiment.jobs[job]
    if not isinstance(settings, AccuracySettings) or settings.stages == 1:
        return experiment.alpha
    design = make_design(questions, gate.margin, experiment.alpha, stages=settings.stages)
    return design.level(len(design.sizes) - 1)


def _floor(experiment: Experiment, gate: Gate, questions: int, better: str) -> list[str]:
    if gate.floor is None:
        return []
    floors = sum(g.floor is not None for gates in experiment.gates.values() for g in gates.values())
    floors *= len(layouts_of(experiment)) * len(experiment.arms)
    floor = gate.floor if better == "higher" else 1 - gate.floor
    alpha, strict = experiment.alpha, experiment.alpha / floors
    told: list[str] = []
    best = mean_score([1.0] * questions, alpha)
    if decision.level_state(best, best, floor, higher_is_better=True) != "pass":
        more = f"ask at least {ceil(log(alpha) / log(floor))} questions, or " if floor < 1 else ""
        told.append(
            f"the floor can never be passed: {questions} perfect answers show no more than "
            f"{best.lower:.2%}, and it asks for {floor:.2%}; {more}lower it"
        )
    worst = mean_score([0.0] * questions, strict)
    if decision.level_state(worst, worst, floor, higher_is_better=True) != "regressed":
        needed = int(log(strict) / log1p(-floor)) + 1 if floor > 0 else 0
        more = f"ask at least {needed} questions, or " if floor > 0 else ""
        told.append(
            f"the floor can never fire: not one of {questions} answers right still allows "
            f"{worst.upper:.2%}, and it asks for {floor:.2%}; {more}raise it"
        )
    return told


def _ratio(experiment: Experiment, metric: str, gate: Gate, launches: int) -> list[str]:
    if len(experiment.arms) < 2:
        return []
    if launches < 2:
        why = "one launch an arm does not show how launches differ by themselves"
        return [f"can never pass or fire: {why}; set launches to 3 or more"]
    lower_is_better = METRICS[metric].better == "lower"
    allowed = log(1 + gate.margin) if lower_is_better else -log(1 - gate.margin)

    def least(count: int) -> float:
        return float(stdtrit(count - 1, 1 - experiment.alpha)) * LEAST_SPREAD / sqrt(count)

    if least(launches) < allowed:
        return []
    needed = next((count for count in range(2, 201) if least(count) < allowed), None)
    more = f"set launches to at least {needed}, or " if needed is not None else ""
    why = f"{launches} launches exclude no change below {least(launches):.2%}"
    margin = f"margin is {gate.margin:.2%}; {more}widen it"
    return [f"can never pass an arm that is just as fast: {why}, and {margin}"]
