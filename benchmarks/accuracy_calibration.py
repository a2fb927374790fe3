"""How often the accuracy verdict passes what it must not, and what its intervals and alarms hold.

Usage: python -m benchmarks.accuracy_calibration [EXPERIMENTS]

Simulated experiments: every question has a chance of its own to be answered right,
Beta-distributed; both arms draw their answers by it, and the functions that judge a run judge them.
Four claims:

- at a true loss of exactly the margin, at most 5.5 % of experiments pass, in one look and in
  stages;
- the 95 % interval of the paired difference covers the true one in at least 93.5 %, near 0 and
  100 % and where both arms always agree too, and in at most 97.5 % where scores are 10 to 90 %;
- a loss that is concentrated in few questions (2 % of them, or as few as can carry it) passes in at
  most 7.5 % (Student's t: up to 14 %). No interval can do better where none of them is asked;
- the smallest drop that is found with 80 % chance is at most 1.2 points for 1319 GSM8K-like
  questions asked once, and 2.2 points for 198 GPQA-like ones asked eight times.

GSM8K-like: 98 % right, of which wrong answers some three in five are wrong every time (labels that
are wrong themselves, GSM8K-Platinum 2025); with twice the variance inside questions no test finds
1.2 points, which is printed too. GPQA-like: 86.8 % right, variance 0.045. The figure is the pooled
rate of false passes; each case may exceed the limit by three standard errors of its simulation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import sqrt

import numpy as np

from pipeline.stats.group_sequential import make_design
from pipeline.stats.power import (
    Comparison,
    Difficulty,
    Judge,
    ask_in_stages,
    draw_differences,
    smallest_drop,
)

ALPHA = 0.05
FALSE_PASS, CONCENTRATED_PASS = 0.055, 0.075
COVERAGE, CAP = 0.935, 0.975

GSM8K = Difficulty(score=0.98, within=0.008)
GSM8K_NOISY = Difficulty(score=0.98, within=0.016)
GPQA = Difficulty(score=0.868, within=0.045)
EVEN = Difficulty(score=0.5, within=0.1)
NEVER_RIGHT = Difficulty(score=0.02, within=0.012)
NEARLY_ALL = Difficulty(score=0.995, within=0.004)
NO_CHANCE = Difficulty(score=0.9, within=0.0)

# Difficulty, questions, repeats, margin.
PASSES = (
    (GSM8K, 1319, 1, 0.01), (GSM8K_NOISY, 1319, 1, 0.01), (GSM8K, 1319, 8, 0.006),
    (GPQA, 198, 1, 0.06), (GPQA, 198, 8, 0.02), (EVEN, 198, 8, 0.03), (GSM8K, 198, 8, 0.02),
    (GPQA, 100, 1, 0.08), (GPQA, 100, 8, 0.04), (GSM8K, 100, 8, 0.03),
)  # fmt: skip
COVERED = (EVEN, GPQA, GSM8K, GSM8K_NOISY, NEVER_RIGHT, NEARLY_ALL, NO_CHANCE)

Case = tuple[str, float, float]
"""What it is, the rate found and its standard error."""


def comparison(difficulty: Difficulty, questions: int, repeats: int, margin: float) -> Comparison:
    """Both arms asked alike."""
    return Comparison(
        difficulty=difficulty, questions=questions, repeats=repeats, reference_repeats=repeats,
        margin=margin, alpha=ALPHA,
    )  # fmt: skip


def told(one: Comparison) -> str:
    """A comparison in a line of the output."""
    d = one.difficulty
    return f"n {one.questions} x {one.repeats}, score {d.score:g} (within {d.within:g})"


def rate(hits: int, runs: int) -> tuple[float, float]:
    """A share and its standard error, which a share of none has too."""
    share = hits / runs
    return share, sqrt(max(share * (1 - share), 1 / runs) / runs)


def false_passes(runs: int, *, concentrated: float | None, stages: int) -> Iterator[Case]:
    """How often a loss of exactly the margin passes, case by case."""
    for number, (difficulty, questions, repeats, margin) in enumerate(PASSES):
        one = comparison(difficulty, questions, repeats, margin)
        design = make_design(questions, margin, ALPHA, stages=stages)
        rng, judge = np.random.default_rng([number, stages, concentrated is not None]), Judge()
        drawn = draw_differences(one, margin, runs, rng, concentrated=concentrated)
        passes = sum(ask_in_stages(row, design, judge)[0] == "pass" for row in drawn)
        yield (f"{told(one)}, margin {margin:g}", *rate(passes, runs))


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
    one_look = list(false_passes(3 * runs, concentrated=None, stages=1))
    in_stages = list(false_passes(runs, concentrated=None, stages=10))
    few = list(false_passes(runs, concentrated=0.02, stages=1))
    few_stages = list(false_passes(runs, concentrated=0.02, stages=10))
    covered = list(coverage(runs))
    kept = [
        within(one_look, FALSE_PASS, "false passes"),
        within(in_stages, FALSE_PASS, "false passes in stages"),
        within(few, CONCENTRATED_PASS, "false passes, loss in few questions"),
        within(few_stages, CONCENTRATED_PASS, "the same in stages"),
        within([case for case, _ in covered], COVERAGE, "coverage", above=False),
        within([case for case, capped in covered if capped], CAP, "coverage, capped"),
        drops(),
    ]
    pooled = sum(share for _, share, _ in one_look + in_stages) / len(one_look + in_stages)
    holds = all(kept) and pooled <= FALSE_PASS
    verdict = "holds" if holds else "falls short"
    print(f"benchmark accuracy_calibration: {pooled:.4f} (limit {FALSE_PASS}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
