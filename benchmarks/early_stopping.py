"""How many questions asking in stages saves, at the same error rates.

Usage: python -m benchmarks.early_stopping [EXPERIMENTS]

Simulated experiments in stages (1319 questions in twelve, 198 in ten), judged by the functions that
judge a run. Of each: how often a loss of exactly the margin passes, how often an equal arm passes,
how many questions an equal arm is asked, and how many a fixed design needs for the same two error
rates: the least number at which it passes an equal arm as often, at the rate of false passes that
the stages had. Claims:

- an equal arm is asked at most 0.65 of the questions of that fixed design: 1319 GSM8K-like ones
  with a margin of 1.5 points, which judged once pass an equal arm 19 times in 20. With more power
  to spare the stages save more, with less they save less: all designs are printed;
- false passes at the margin are at most 5.5 %, false alarms of an equal arm at most alpha;
- an arm that answers garbage (1 % against 98 %) is regressed after the first stage, a tenth of the
  questions at most, also where it is one of nine comparisons.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from math import sqrt

import numpy as np

from pipeline.stats.group_sequential import Design, make_design
from pipeline.stats.power import Comparison, Difficulty, Floats, Judge, ask_in_stages
from pipeline.stats.power import draw_differences as draw

ALPHA = 0.05
# More stages save a little more; a twelfth of few questions is too few for an alarm.
STAGES = {1319: 12, 198: 10}
SAVING, GARBAGE, FALSE_PASS = 0.65, 0.1, 0.055

GSM8K = Difficulty(score=0.98, within=0.012)
GSM8K_CALM = Difficulty(score=0.98, within=0.008)
GPQA = Difficulty(score=0.868, within=0.045)

# Difficulty, questions, repeats, margin; the first is the one that is held to its limit.
DESIGNS = (
    (GSM8K, 1319, 1, 0.015), (GSM8K_CALM, 1319, 1, 0.012), (GSM8K, 1319, 1, 0.02),
    (GSM8K, 1319, 2, 0.01), (GPQA, 198, 8, 0.03), (GPQA, 198, 8, 0.02),
)  # fmt: skip


def staged(questions: int, margin: float, alarms: int) -> Design:
    """The stages of so many questions."""
    return make_design(questions, margin, ALPHA, stages=STAGES[questions], alarms=alarms)


def study(one: Comparison, runs: int) -> tuple[float, bool]:
    """Print a design's rates; its questions over those of the fixed one, and if it is valid."""
    design, judge = staged(one.questions, one.margin, 1), Judge()
    equal = draw(one, 0.0, runs, np.random.default_rng(1))
    worse = draw(one, one.margin, runs, np.random.default_rng(2))
    ends = [ask_in_stages(row, design, judge) for row in equal]
    passes = sum(outcome == "pass" for outcome, _ in ends) / runs
    alarms = sum(outcome == "regressed" for outcome, _ in ends) / runs
    asked = sum(questions for _, questions in ends) / runs
    false = sum(ask_in_stages(row, design, judge)[0] == "pass" for row in worse) / runs
    fixed = fixed_questions(equal, one.margin, false, passes, judge)
    print(
        f"  n {one.questions} x {one.repeats}, within {one.difficulty.within:g}, margin "
        f"{one.margin:g}: false passes {false:.3f}, equal arms pass {passes:.3f} (in one look "
        f"{pass_rate(equal, one.questions, one.margin, ALPHA, judge):.3f}), false alarms "
        f"{alarms:.3f}; asks {asked:.0f}, {asked / one.questions:.3f} of all and "
        f"{asked / fixed:.3f} of the {fixed} of a fixed design with these error rates"
    )
    noise = 3 * sqrt(ALPHA * (1 - ALPHA) / runs)
    return asked / fixed, false <= FALSE_PASS + noise and alarms <= ALPHA + noise


def pass_rate(rows: Floats, questions: int, margin: float, level: float, judge: Judge) -> float:
    """Share of runs that pass when so many questions are judged once."""
    passed = sum(judge(row[:questions], level).interval.lower > -margin for row in rows)
    return passed / len(rows)


def fixed_questions(rows: Floats, margin: float, level: float, power: float, judge: Judge) -> int:
    """Questions of the fixed design of these error rates; at most what was drawn."""
    low, high = 1, rows.shape[1]
    while high - low > max(1, rows.shape[1] // 200):
        middle = (low + high) // 2
        if pass_rate(rows, middle, margin, level, judge) >= power:
            high = middle
        else:
            low = middle
    return high


def garbage(questions: int, repeats: int, runs: int) -> float:
    """Largest share of the questions that an arm with 1 % was asked; 1 if any was not regressed."""
    design: Design = staged(questions, 0.02, 9)
    rng = np.random.default_rng(3)
    broken = replace(GSM8K, score=0.01, within=0.005)
    shape = (runs, questions)
    reference = rng.binomial(repeats, GSM8K.chances(rng, shape)) / repeats
    arm = rng.binomial(repeats, broken.chances(rng, shape)) / repeats
    ends = [ask_in_stages(row, design, Judge()) for row in arm - reference]
    if any(outcome != "regressed" for outcome, _ in ends):
        return 1.0
    return max(asked for _, asked in ends) / questions


def main(runs: int) -> int:
    """Exit code 0 if every claim holds."""
    found = []
    for difficulty, questions, repeats, margin in DESIGNS:
        one = Comparison(
            difficulty=difficulty, questions=questions, repeats=repeats,
            reference_repeats=repeats, margin=margin, alpha=ALPHA,
        )  # fmt: skip
        found.append(study(one, runs))
    worst = max(garbage(questions, repeats, 300) for questions, repeats in ((1319, 1), (198, 8)))
    print(f"garbage: regressed after {worst:.3f} of the questions at most (limit {GARBAGE})")
    saved = found[0][0]
    holds = saved <= SAVING and worst <= GARBAGE and all(valid for _, valid in found)
    print(
        f"benchmark early_stopping: {saved:.3f} (limit {SAVING}) "
        f"{'holds' if holds else 'falls short'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000))
