"""How often the accuracy verdict passes what it must not, and what its intervals and alarms hold.

Usage: python -m benchmarks.accuracy_calibration [EXPERIMENTS]

Simulated experiments: every question has a chance of its own to be answered right, both arms draw
their answers by it, and the functions that judge a run judge them. Claims:

- at a true loss of exactly the margin, at most 5.5 % of experiments pass, in one look and in
  stages, under every model of a loss: in proportion to each question's chance, as a lower ability
  (all log odds shifted alike), and concentrated in 2 and 5 % of the questions (or as few as can
  carry it, which then lose every answer). Difficulties are Beta-distributed, bimodal, or of item
  response models with and without guessing. Each model is pooled over its cases; each case may
  exceed the limit by three standard errors of its simulation;
- the floor of a score is called broken, and shown to be kept, at most as often as asked where the
  score is exactly the floor, 95 to 99.5 %: for one answer a question summed over the binomial
  distribution, for eight answers simulated, as one of nine checks and alone;
- the 95 % interval of the paired difference covers the true one in at least 93.5 %, near 0 and
  100 % and where both arms always agree too, and in at most 97.5 % where scores are 10 to 90 %;
- the smallest drop that is found with 80 % chance is at most 1.2 points for 1319 GSM8K-like
  questions asked once, and 2.2 points for 198 GPQA-like ones asked eight times.

GSM8K-like: 98 % right, of which wrong answers some three in five are wrong every time (labels that
are wrong themselves, GSM8K-Platinum 2025); with twice the variance inside questions no test finds
1.2 points, which is printed too. GPQA-like: 86.8 % right, variance 0.045. The figure is the largest
pooled rate of false passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom

from pipeline.stats import Interval, mean_score
from pipeline.stats.group_sequential import make_design
from pipeline.stats.power import (
    Comparison,
    Difficulty,
    Floats,
    Judge,
    ask_in_stages,
    draw_differences,
    smallest_drop,
)

ALPHA = 0.05
FALSE_PASS = 0.055
COVERAGE, CAP = 0.935, 0.975
STAGES, FLOOR_CHECKS = 10, 9

GSM8K = Difficulty(score=0.98, within=0.008)
GSM8K_NOISY = Difficulty(score=0.98, within=0.016)
GPQA = Difficulty(score=0.868, within=0.045)
EVEN = Difficulty(score=0.5, within=0.1)
NEVER_RIGHT = Difficulty(score=0.02, within=0.012)
NEARLY_ALL = Difficulty(score=0.995, within=0.004)
NO_CHANCE = Difficulty(score=0.9, within=0.0)

Chances = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Draws the chances of as many questions."""


@dataclass(frozen=True)
class Bimodal:
    """Questions that are nearly always right, and others."""

    high: float
    low: float
    share_high: float

    def chances(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Each question is one or the other."""
        return np.where(rng.random(shape) < self.share_high, self.high, self.low)


@dataclass(frozen=True)
class ItemResponse:
    """Log odds of a right answer vary normally; a guess is right with a chance of its own."""

    mean: float
    spread: float
    guess: float = 0.0

    def chances(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """As in the three-parameter logistic model with equal discrimination."""
        known: Floats = expit(rng.normal(self.mean, self.spread, shape))
        return self.guess + (1 - self.guess) * known


Model = Difficulty | Bimodal | ItemResponse

GPQA_BIMODAL = Bimodal(0.99, 0.1, 0.865)
GPQA_ITEMS = ItemResponse(3.2, 2.3)
GPQA_GUESSED = ItemResponse(2.6, 2.0, 0.25)
GSM8K_ITEMS = ItemResponse(7.0, 3.2)

# Model, questions, repeats, margin.
PASSES: tuple[tuple[Model, int, int, float], ...] = (
    (GPQA, 198, 8, 0.02),
    (GPQA, 198, 8, 0.03),
    (GPQA_BIMODAL, 198, 8, 0.02),
    (GPQA_BIMODAL, 198, 8, 0.03),
    (GPQA_ITEMS, 198, 8, 0.03),
    (GPQA_GUESSED, 198, 8, 0.03),
    (EVEN, 198, 8, 0.03),
    (GSM8K, 198, 8, 0.02),
    (GPQA, 149, 8, 0.02),
    (GPQA_GUESSED, 100, 8, 0.04),
    (GSM8K, 100, 8, 0.03),
    (GPQA, 30, 16, 0.1),
    (GPQA, 198, 1, 0.06),
    (GPQA_ITEMS, 198, 1, 0.06),
    (GPQA, 100, 1, 0.08),
    (NO_CHANCE, 149, 1, 0.02),
    (GSM8K, 1319, 1, 0.01),
    (GSM8K_NOISY, 1319, 1, 0.01),
    (GSM8K_ITEMS, 1319, 1, 0.015),
    (GSM8K, 1319, 2, 0.01),
    (GSM8K, 1319, 8, 0.006),
)
LOSSES = ("in proportion", "lower ability", "in 2 % of questions", "in 5 % of questions")
COVERED = (EVEN, GPQA, GSM8K, GSM8K_NOISY, NEVER_RIGHT, NEARLY_ALL, NO_CHANCE)

Case = tuple[str, float, float]
"""What it is, the rate found and its standard error."""


def comparison(difficulty: Difficulty, questions: int, repeats: int, margin: float) -> Comparison:
    """Both arms asked alike."""
    return Comparison(
        difficulty=difficulty,
        questions=questions,
        repeats=repeats,
        reference_repeats=repeats,
        margin=margin,
        alpha=ALPHA,
    )


def told(one: Comparison) -> str:
    """A comparison in a line of the output."""
    d = one.difficulty
    return f"n {one.questions} x {one.repeats}, score {d.score:g} (within {d.within:g})"


def rate(hits: int, runs: int) -> tuple[float, float]:
    """A share and its standard error, which a share of none has too."""
    share = hits / runs
    return share, sqrt(max(share * (1 - share), 1 / runs) / runs)


@cache
def _many(model: Model) -> Floats:
    """Chances of so many questions that their mean is the model's score."""
    return model.chances(np.random.default_rng(0), (400_000,))


def _score(model: Model) -> float:
    return model.score if isinstance(model, Difficulty) else float(_many(model).mean())


def _shifted(chances: Floats, log_odds: float) -> Floats:
    result: Floats = expit(logit(chances.clip(1e-12, 1 - 1e-12)) - log_odds)
    return result


@cache
def _ability_loss(model: Model, loss: float) -> float:
    """The shift of log odds that loses so much of the score."""
    many = _many(model)
    return float(brentq(lambda by: float((many - _shifted(many, by)).mean()) - loss, 0, 30))


def worse(
    model: Model, chances: Floats, loss: float, kind: str, rng: np.random.Generator
) -> Floats:
    """The arm's chances: on average ``loss`` below the reference's."""
    score = _score(model)
    if kind == "in proportion":
        return chances * (1 - loss / score)
    if kind == "lower ability":
        return _shifted(chances, _ability_loss(model, loss))
    share = max({"in 2 % of questions": 0.02, "in 5 % of questions": 0.05}[kind], loss / score)
    return np.where(
        rng.random(chances.shape) < share, chances * (1 - loss / (share * score)), chances
    )


def differences(
    model: Model, questions: int, repeats: int, loss: float, kind: str, seed: list[int], runs: int
) -> Floats:
    """Per-question differences of simulated runs, (runs, questions)."""
    rng = np.random.default_rng(seed)
    chances = model.chances(rng, (runs, questions))
    arm = rng.binomial(repeats, worse(model, chances, loss, kind, rng).clip(0, 1))
    return np.asarray((arm - rng.binomial(repeats, chances)) / repeats, dtype=float)


def false_passes(runs: int, kind: str, stages: int) -> Iterator[Case]:
    """How often a loss of exactly the margin passes, case by case."""
    for number, (model, questions, repeats, margin) in enumerate(PASSES):
        design = make_design(questions, margin, ALPHA, stages=stages)
        seed, judge = [number, LOSSES.index(kind)], Judge()
        rows = differences(model, questions, repeats, margin, kind, seed, runs)
        passes = sum(ask_in_stages(row, design, judge)[0] == "pass" for row in rows)
        name = f"n {questions} x {repeats}, margin {margin:g}, {model}"
        yield (name, *rate(passes, runs))


# Scores at which a floor is held, and how questions differ there: all alike, Beta-distributed with
# half of the variance inside questions, or some never right and the others always, with a slip in
# a hundred.
FLOORS = (0.95, 0.98, 0.99, 0.995)


def _at_floor(floor: float) -> Iterator[tuple[str, Model]]:
    spread = floor * (1 - floor)
    yield "all alike", Difficulty(score=floor, within=spread)
    yield "Beta", Difficulty(score=floor, within=spread / 2)
    yield "Beta, most between questions", Difficulty(score=floor, within=spread / 10)
    yield "some never right", Bimodal(0.999, 0.0, floor / 0.999)


class _Level:
    """:func:`mean_score` that takes the interval of the same scores only once."""

    def __init__(self) -> None:
        self._known: dict[tuple[float, bytes], Interval] = {}

    def __call__(self, scores: Floats, alpha: float) -> Interval:
        ordered = np.sort(scores)
        key = (alpha, ordered.tobytes())
        if key not in self._known:
            self._known[key] = mean_score(ordered.tolist(), alpha)
        return self._known[key]


def exact_floors() -> Iterator[tuple[Case, float]]:
    """One answer a question: rates of alarms and of keeping, and what they may be."""
    for floor in FLOORS:
        for questions in (100, 198, 1319):
            right = np.arange(questions + 1)
            chance = binom.pmf(right, questions, floor)
            for level, name in ((ALPHA / FLOOR_CHECKS, "one of nine"), (ALPHA, "alone")):
                found = [mean_score([1.0] * k + [0.0] * (questions - k), level) for k in right]
                above = float(chance @ np.array([one.lower > floor for one in found]))
                below = float(chance @ np.array([one.upper < floor for one in found]))
                for rate_, side in ((above, "kept"), (below, "broken")):
                    yield (f"floor {floor:g} {side}, n {questions}, {name}", rate_, 0.0), level


def simulated_floors(runs: int) -> Iterator[tuple[Case, float]]:
    """Eight answers a question: the same."""
    for floor in FLOORS:
        for number, (model_name, model) in enumerate(_at_floor(floor)):
            rng = np.random.default_rng([number, int(1000 * floor)])
            rows = rng.binomial(8, model.chances(rng, (runs, 198)).clip(0, 1)) / 8
            strict, alone = ALPHA / FLOOR_CHECKS, ALPHA
            level = _Level()
            error = np.maximum(rows.std(axis=1), 1e-9) / sqrt(198)
            seen = (rows.mean(axis=1) - floor) / error
            # A bound on the other side of the floor is further from the mean than this.
            below = sum(level(row, strict).upper < floor for row in rows[seen < -1])
            above = sum(level(row, alone).lower > floor for row in rows[seen > 1])
            name = f"floor {floor:g} {{}}, n 198 x 8, {model_name}"
            yield (name.format("broken, one of nine"), *rate(below, runs)), strict
            yield (name.format("kept, alone"), *rate(above, runs)), alone


def floors(runs: int) -> bool:
    """Print the floors and whether all keep to their level, but for the noise of the simulation."""
    kept = True
    for (name, share, error), level in (*exact_floors(), *simulated_floors(runs)):
        holds = share <= level + 3 * max(error, sqrt(level / runs) if error else 0) + 1e-12
        kept &= holds
        print(f"  floor: {share:.4f} +- {error:.4f} of {level:.4f}  {name}{'' if holds else ' !'}")
    print(f"floors: {'hold' if kept else 'fall short'}")
    return kept


def coverage(runs: int) -> Iterator[tuple[Case, bool]]:
    """How often the 95 % interval holds the true difference; and whether the cap is for it."""
    for number, difficulty in enumerate(COVERED):
        for questions in (100, 198, 1319):
            for repeats in (1, 8):
                for drop in (0.0, 0.015):
                    one = comparison(difficulty, questions, repeats, 0.01)
                    rng = np.random.default_rng([number, questions, repeats, drop > 0])
                    judge = Judge()
                    drawn = draw_differences(one, drop, runs, rng)
                    found = (judge(row, ALPHA / 2).interval for row in drawn)
                    covered = sum(i.lower <= -drop + 1e-12 <= i.upper + 2e-12 for i in found)
                    capped = 0.1 <= difficulty.score <= 0.9 and difficulty.within > 0
                    yield (f"{told(one)}, drop {drop:g}", *rate(covered, runs)), capped


def within(cases: list[Case], limit: float, what: str, *, above: bool = True) -> bool:
    """Print the cases and whether all keep to the limit, but for the noise of the simulation."""
    sign = 1 if above else -1
    worst = max(cases, key=lambda case: sign * case[1])
    kept = all(sign * (share - limit) <= 3 * error for _, share, error in cases)
    for name, share, error in cases:
        print(f"  {what}: {share:.3f} +- {error:.3f}  {name}")
    told = "holds" if kept else "falls short"
    print(f"{what}: worst {worst[1]:.3f} (limit {limit} and three standard errors) {told}")
    return kept


def drops() -> bool:
    """Smallest drops that are found, against what is claimed of them."""
    kept = True
    for difficulty, questions, repeats, limit in (
        (GSM8K, 1319, 1, 0.012), (GPQA, 198, 8, 0.022), (GSM8K_NOISY, 1319, 1, None),
    ):  # fmt: skip
        one = comparison(difficulty, questions, repeats, 0.005)
        found = smallest_drop(one, runs=3000)
        assert found is not None
        claim = "" if limit is None else f" (limit {100 * limit:g})"
        kept &= limit is None or found <= limit
        print(f"smallest drop found: {100 * found:.2f} points{claim}  {told(one)}")
    return kept


def main(runs: int) -> int:
    """Exit code 0 if every claim holds."""
    kept, pooled = [floors(10 * runs)], []
    for kind in LOSSES:
        for stages in (1, STAGES):
            cases = list(false_passes(runs, kind, stages))
            name = f"false passes, loss {kind}, {'one look' if stages == 1 else 'in stages'}"
            pooled.append(sum(share for _, share, _ in cases) / len(cases))
            kept += [within(cases, FALSE_PASS, name), pooled[-1] <= FALSE_PASS]
            print(f"{name}: pooled {pooled[-1]:.4f} (limit {FALSE_PASS})")
    covered = list(coverage(runs))
    kept += [
        within([case for case, _ in covered], COVERAGE, "coverage", above=False),
        within([case for case, capped in covered if capped], CAP, "coverage, capped"),
        drops(),
    ]
    holds = all(kept)
    verdict = "holds" if holds else "falls short"
    print(f"benchmark accuracy_calibration: {max(pooled):.4f} (limit {FALSE_PASS}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
