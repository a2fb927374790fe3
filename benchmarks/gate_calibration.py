"""How often the gate cries wolf when nothing changed, and how often it finds what did.

Usage: python -m benchmarks.gate_calibration [RUNS]

Simulates runs of the full matrix (four arms, three attention DP sizes, three launches) with noise
like that of the H100 that SGLang was measured on: launch medians of ITL that differ by 0.5 %, and
sampled answers to 300 questions that a model gets right with different chances. Every simulated run
goes through the gate that a real one goes through. The figure is the share of runs without any
change that end as regressed; the limit is what alpha 0.05 allows each of the two families, plus
three standard errors of the simulation. In the same way a 20 % slower arm and one with 10 points
fewer right answers must be found in at least 95 % of runs.
"""

from __future__ import annotations

import sys
from collections import Counter
from math import sqrt

import numpy as np

from evals.job import Mark
from pipeline.gate import Judgement, Verdict, judge
from tests.pipeline.builders import make_plan_for_test, make_run

ALPHA = 0.05
FAMILIES = 2  # accuracy and speed, each kept at alpha by Holm
QUESTIONS = 300
LAUNCH_SD = 0.005
ARMS = ("nccl", "default", "nccl-symmetric", "mixed-comm")
CHANGED = "mixed-comm"


def simulate(rng: np.random.Generator, *, slower: float, fewer: float) -> Judgement:
    """One run; the last arm is ``slower`` times as slow and loses ``fewer`` of its answers."""
    plan = make_plan_for_test(
        arms=ARMS, dps=(2, 4, 8), launches=3, alpha=ALPHA,
        gates={
            "gsm8k": {"score": {"margin": 0.03}},
            "latency": {"median_itl_ms": {"margin": 0.03}},
        },
    )  # fmt: skip
    chance = rng.beta(6, 1.2, QUESTIONS)

    def mark(arm: str, _dp: int, question: int, _repeat: int) -> Mark:
        p = chance[question] - (fewer if arm == CHANGED else 0.0)
        return "correct" if rng.random() < p else "wrong"

    def speed(arm: str, _dp: int, _metric: str) -> float:
        return float(np.exp(rng.normal(0, LAUNCH_SD))) * (slower if arm == CHANGED else 1.0)

    made = make_run(plan, mark=mark, speed=speed, questions=QUESTIONS)
    return judge(plan, made.records.values(), made.read, {})


def share_red(runs: int, seed: int, *, slower: float = 1.0, fewer: float = 0.0) -> float:
    """Share of simulated runs whose verdict is regressed; prints all verdicts."""
    rng = np.random.default_rng(seed)
    verdicts = Counter(simulate(rng, slower=slower, fewer=fewer).verdict for _ in range(runs))
    told = ", ".join(f"{verdict.value} {count}" for verdict, count in verdicts.most_common())
    print(f"ITL x {slower:g}, score -{fewer:g}: {told}")
    return verdicts[Verdict.REGRESSED] / runs


def main(runs: int) -> int:
    """Exit code 0 if the gate is as calm and as sharp as it claims."""
    calm = share_red(runs, seed=1)
    slow = share_red(runs // 4, seed=2, slower=1.2)
    wrong = share_red(runs // 4, seed=3, fewer=0.1)
    allowed = FAMILIES * ALPHA
    limit = allowed + 3 * sqrt(allowed * (1 - allowed) / runs)
    holds = calm <= limit and min(slow, wrong) >= 0.95
    print(f"20 % slower found in {slow:.1%}, 10 points worse found in {wrong:.1%} (limit 95 %)")
    verdict = "holds" if holds else "falls short"
    print(f"benchmark gate_calibration: {calm:.3f} (limit {limit:.3f}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
