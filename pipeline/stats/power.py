"""What a comparison of answers can show, from how much a model's answers vary by themselves.

Everything is simulated through the functions that judge a run, since normal theory promises too
much for few questions: by it a drop of 4 points shows with 100 questions, by the exact test 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.stats.decision import unseen_collapse
from pipeline.stats.group_sequential import Design, Outcome, make_design, outcome_of
from pipeline.stats.paired import PairedDifference, difference_of

__all__ = [
    "LOSSES",
    "Comparison",
    "Difficulty",
    "Floats",
    "Judge",
    "Rates",
    "ask_in_stages",
    "draw_differences",
    "operating_curve",
    "rates",
    "repeats_for",
    "smallest_drop",
]

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LOSSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""True losses of an operating curve, in margins."""

# Simulated runs behind every chance that is reported: a standard error of at most 1.6 points.
_RUNS = 1000
# The same for a point of a curve in stages, which takes some ten times as long: 2.2 points.
_STAGED_RUNS = 500
# Drops are found to a fiftieth of a point or so; repeats are tried up to more than anyone pays for.
_HALVINGS = 9
_MOST_REPEATS = 256


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """How a model does on a benchmark: each question has a chance of its own, Beta-distributed.

    Attributes:
        score: Mean chance, in (0, 1).
        within: Mean of chance * (1 - chance): the variance of one sample of one question. From 0
            (a question is always or never right) to score * (1 - score) (all are equally hard).
    """

    score: float
    within: float

    def __post_init__(self) -> None:
        if not 0 < self.score < 1 or not 0 <= self.within <= self.score * (1 - self.score) + 1e-12:
            raise ValueError(
                f"a score of {self.score} in (0, 1) has a variance inside a question from 0 to "
                f"{self.score * (1 - self.score):.4g}, not {self.within}"
            )

    def chances(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Chances of as many questions, drawn at random."""
        between = self.score * (1 - self.score) - self.within
        if between <= 1e-9:
            return np.full(shape, self.score)
        concentration = self.within / between
        if concentration < 1e-6:
            return (rng.random(shape) < self.score).astype(float)
        return rng.beta(self.score * concentration, (1 - self.score) * concentration, shape)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A planned comparison of one arm with the reference on one benchmark.

    Attributes:
        difficulty: Of the benchmark for the model.
        questions: How many.
        repeats: Samples of each in the arm.
        reference_repeats: The same in the reference.
        margin: Largest acceptable loss, a fraction.
        alpha: One-sided error rate of a pass.
        alarms: Comparisons that can raise an alarm in the whole experiment.
    """

    difficulty: Difficulty
    questions: int
    repeats: int
    reference_repeats: int
    margin: float
    alpha: float
    alarms: int = 1


def draw_differences(
    comparison: Comparison,
    drop: float,
    runs: int,
    rng: np.random.Generator,
    *,
    concentrated: float | None = None,
) -> Floats:
    """Per-question differences of simulated runs, (runs, questions).

    Args:
        comparison: What is asked.
        drop: True loss of score, a fraction.
        runs: How many runs.
        rng: Source of chance.
        concentrated: None spreads the drop over all questions in proportion to their chance. A
            share: only that many of the questions lose, each as much as it takes; if they cannot
            lose that much, more questions do.
    """
    score, shape = comparison.difficulty.score, (runs, comparison.questions)
    p = comparison.difficulty.chances(rng, shape)
    if concentrated is None:
        worse = p * (1 - drop / score)
    else:
        share = max(concentrated, drop / score)
        worse = np.where(rng.random(shape) < share, p * (1 - drop / (share * score)), p)
    reference = rng.binomial(comparison.reference_repeats, p) / comparison.reference_repeats
    arm = rng.binomial(comparison.repeats, worse.clip(0, 1)) / comparison.repeats
    return np.asarray(arm - reference, dtype=float)


class Judge:
    """:func:`difference_of` that judges differences of the same values only once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, float, bytes], PairedDifference] = {}

    def __call__(self, differences: Floats, alpha: float) -> PairedDifference:
        """The comparison of one simulated run's differences."""
        values = np.sort(np.round(differences[np.abs(differences) > 1e-12], 12))
        key = (len(differences), alpha, values.tobytes())
        if key not in self._known:
            self._known[key] = difference_of(differences.reshape(-1), alpha)
        return self._known[key]


def ask_in_stages(differences: Floats, design: Design, judge: Judge) -> tuple[Outcome, int]:
    """Where a staged job would have stopped, had it asked these questions in this order.

    Returns:
        Its outcome, never ``continue``, and the questions asked.
    """
    for stage, size in enumerate(design.sizes):
        seen = judge(differences[:size], design.level(stage))
        outcome = outcome_of(design, stage, seen)
        if outcome != "continue":
            return outcome, size
    raise AssertionError("the last stage of a design never continues")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How comparisons of one true loss end.

    Attributes:
        passes: Share that passes.
        regressed: Share that is regressed; the others are inconclusive.
        asked: Mean share of the questions that is asked.
    """

    passes: float
    regressed: float
    asked: float


def rates(
    comparison: Comparison,
    drop: float,
    *,
    stages: int = 1,
    runs: int = _RUNS,
    seed: int = 1,
    judge: Judge | None = None,
) -> Rates:
    """Simulate the verdict at a true drop; a pass at the margin is a false one.

    Args:
        comparison: What is asked.
        drop: True loss of score, a fraction, spread over all questions.
        stages: In how many the questions are asked; 1: all at once.
        runs: Simulated comparisons.
        seed: Of their random numbers.
        judge: One that has judged other drops, which saves time where questions are asked once.
    """
    design = make_design(
        comparison.questions,
        comparison.margin,
        comparison.alpha,
        stages=stages,
        alarms=comparison.alarms,
    )
    judge = judge or Judge()
    rows = draw_differences(comparison, drop, runs, np.random.default_rng(seed))
    ends = [ask_in_stages(row, design, judge) for row in rows]
    outcomes = [outcome for outcome, _ in ends]
    return Rates(
        passes=outcomes.count("pass") / runs,
        regressed=outcomes.count("regressed") / runs,
        asked=sum(asked for _, asked in ends) / (runs * comparison.questions),
    )


def operating_curve(
    comparison: Comparison, *, stages: int = 1, runs: int | None = None, seed: int = 1
) -> dict[float, Rates]:
    """The rates at true losses of ``LOSSES`` times the margin, by these; up to the whole score."""
    count = runs or (_RUNS if stages == 1 else _STAGED_RUNS)
    judge = Judge()
    drops = {times: times * comparison.margin for times in LOSSES}
    return {
        times: rates(comparison, drop, stages=stages, runs=count, seed=seed, judge=judge)
        for times, drop in drops.items()
        if drop <= comparison.difficulty.score
    }


def smallest_drop(
    comparison: Comparison, power: float = 0.8, *, runs: int = _RUNS, seed: int = 1
) -> float | None:
    """The smallest drop, spread over all questions, that ends as regressed with this chance.

    With the same random numbers at every drop. None: not even the loss of every right answer does.
    A drop within the margin can pass although it is real; the smallest drop that is found so never
    lies far below the margin.
    """
    judge = Judge()

    def finds(drop: float) -> bool:
        found = rates(comparison, drop, runs=runs, seed=seed, judge=judge)
        return found.regressed >= power

    high = comparison.difficulty.score
    if not finds(high):
        return None
    # Found drops are small: come down to them first.
    while high > 1e-4 and finds(high / 2):
        high /= 2
    low = high / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high


def repeats_for(
    comparison: Comparison, questions: int, power: float = 0.8, *, runs: int = _RUNS, seed: int = 1
) -> int | None:
    """Least samples of each of so many questions with which an equal arm passes.

    None: over 256, or so few questions that no number of samples would.
    """

    def passes(repeats: int) -> bool:
        asked = Comparison(
            difficulty=comparison.difficulty,
            questions=questions,
            repeats=repeats,
            reference_repeats=repeats,
            margin=comparison.margin,
            alpha=comparison.alpha,
            alarms=comparison.alarms,
        )
        return rates(asked, 0.0, runs=runs, seed=seed).passes >= power

    if unseen_collapse(questions, comparison.margin) > comparison.alpha:
        return None
    high = 1
    while not passes(high):
        if high >= _MOST_REPEATS:
            return None
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
