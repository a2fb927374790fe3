"""Whether the latency gate keeps its error rates with few launches, and finds a 5 % slowdown.

Usage: python -m benchmarks.latency_calibration [EXPERIMENTS]

Simulates experiments of 4, 5 and 6 launches an arm in interleaved blocks: launch medians of ITL
that differ by 1 %, over a drift of 1 % from block to block that all arms share. Each goes through
the gate that a real run goes through. Told for each number of launches:

- false alarms: A/A experiments with a margin of 0.1 %, far below the noise, so that nothing but the
  test holds back an alarm; the same for three arms and three layouts at once (Holm); and with a
  margin of 3 %;
- wrong passes: an arm that is slower by exactly its margin;
- found: an arm that is 5 % slower, with a margin of 3 %.

The figure is the largest share of false alarms or wrong passes; the limit is alpha and three
standard errors of the simulation. At least 95 % must be found.

What pooling the variance would do is printed last, over arms and over the layouts of one arm. It
decides nothing: these numbers are why each comparison has its own variance. The claims that they
hold are that its own keeps alpha where one layout of an arm repeats 3 and 6 times worse than the
others, and that none of the ways to pool that are tried does.
"""

from __future__ import annotations

import sys
from collections import Counter
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtr

from pipeline.gate import Verdict, judge
from pipeline.stats import holm
from tests.pipeline.builders import make_plan_for_test, make_run

ALPHA = 0.05
SPREAD = 0.01
DRIFT = 0.01
FOUND = 0.95
ARM = "mixed-comm"
MATRIX = ("nccl", "default", "nccl-symmetric", ARM)
JOBS = {"latency": {"kind": "latency", "input_len": 8192, "concurrency": 16}}


def share(
    verdict: Verdict, experiments: int, launches: int, margin: float, *,
    factor: float = 1.0, arms: tuple[str, ...] = ("nccl", ARM), dps: tuple[int, ...] = (4,),
) -> float:  # fmt: skip
    """Share of experiments with this verdict; the last arm takes ``factor`` times as long."""
    rng = np.random.default_rng(launches)
    plan = make_plan_for_test(
        arms=arms, dps=dps, launches=launches, alpha=ALPHA, jobs=JOBS,
        gates={"latency": {"median_itl_ms": {"margin": margin}}},
    )  # fmt: skip
    made = make_run(plan)
    seen: Counter[Verdict] = Counter()
    for _ in range(experiments):
        drift = rng.normal(0, DRIFT, launches)
        for cell, record in made.records.items():
            at = log(10) + drift[record.block] + rng.normal(0, SPREAD)
            slower = factor if record.arm == ARM else 1.0
            made.change(cell, metrics={"median_itl_ms": exp(at) * slower})
        seen[judge(plan, made.records.values(), made.read, {}).verdict] += 1
    return seen[verdict] / experiments


def pooled(experiments: int, launches: int, spreads: tuple[float, ...]) -> tuple[float, float]:
    """Shares of A/A matrices with any p below alpha after Holm: each comparison's own t, or pooled.

    Pooled is the residual of a two-way layout of blocks and arms, with (arms - 1) (blocks - 1)
    degrees of freedom on each of three layouts.
    """
    rng = np.random.default_rng(launches)
    alarms = np.zeros(2)
    for _ in range(experiments):
        each: list[list[float]] = [[], []]
        for _layout in range(3):
            logs = rng.normal(0, 1, (len(spreads), launches)) * np.array(spreads)[:, None]
            own, together = _p_values(logs)
            each[0] += own
            each[1] += together
        alarms += [min(holm(values)) < ALPHA for values in each]
    own_share, pooled_share = alarms / experiments
    return float(own_share), float(pooled_share)


def _p_values(logs: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """One-sided p-values of each arm against the first: paired t, and pooled over arms."""
    arms, blocks = logs.shape
    differences = logs[1:] - logs[0]
    means = differences.mean(axis=1)
    own = differences.std(axis=1, ddof=1) / sqrt(blocks)
    rest = logs - logs.mean(axis=0) - logs.mean(axis=1, keepdims=True) + logs.mean()
    df = (arms - 1) * (blocks - 1)
    error = sqrt(2 * float((rest**2).sum()) / df / blocks)
    return list(stdtr(blocks - 1, -means / own)), list(stdtr(df, -means / error))


# Nine comparisons: three arms on three layouts, all beside one reference.
_ARMS, _LAYOUTS = 3, 3
_SIMULATED = 20_000
Floats = NDArray[np.float64]


def layouts_pooled(launches: int) -> dict[str, dict[str, float]]:
    """Ways to pool one arm's variance over its layouts, and what each errs and finds.

    Told by method: ``one, X3`` and ``one, X6``, the error rate at alpha of the one layout that
    repeats so many times worse than the arm's others, as a false alarm and, since t is symmetric,
    as a pass of an arm that is worse by exactly its margin; ``any``, the largest share of matrices
    with a false alarm of nine comparisons at alpha / 9, where one layout of one arm or of each arm
    is 1, 3 or 6 times worse; ``found``, a step of 5 % as one of nine, all layouts alike.
    """
    rng = np.random.default_rng(launches)
    told: dict[str, dict[str, float]] = {}
    for times in (1, 3, 6):
        for arms in (1, _ARMS):
            means, variances = _differences(rng, launches, times, arms)
            for name, p in _ways(means, variances, launches).items():
                figures = told.setdefault(name, {"any": 0.0})
                alarm = (p.reshape(_SIMULATED, -1).min(axis=1) < ALPHA / _ARMS / _LAYOUTS).mean()
                figures["any"] = max(figures["any"], float(alarm))
                figures[f"one, X{times}"] = float((p[:, 0, 0] < ALPHA).mean())
    means, variances = _differences(rng, launches, 1, 1)
    for name, p in _ways(means + log(1.05), variances, launches).items():
        beyond = means[:, 0, 0] + log(1.05) > log(1.03)
        told[name]["found"] = float((beyond & (p[:, 0, 0] < ALPHA / _ARMS / _LAYOUTS)).mean())
    return told


def _differences(
    rng: np.random.Generator, launches: int, times: int, arms: int
) -> tuple[Floats, Floats]:
    """Means and variances of block differences, by experiment, arm and layout."""
    spreads = np.full((_ARMS, _LAYOUTS, 1), SPREAD)
    spreads[:arms, 0] *= times
    reference = rng.normal(0, SPREAD, (_SIMULATED, 1, _LAYOUTS, launches))
    own = rng.normal(0, 1, (_SIMULATED, _ARMS, _LAYOUTS, launches)) * spreads
    differences = own - reference
    return differences.mean(axis=-1), differences.var(axis=-1, ddof=1)


def _ways(means: Floats, variances: Floats, launches: int) -> dict[str, Floats]:
    """One-sided p-values of every way to take the variance.

    The moderated t is that of G. K. Smyth, Statistical Applications in Genetics and Molecular
    Biology 3 (2004) article 3, its prior estimated from the layouts of one arm by the moments of
    the log variances.
    """
    df = launches - 1
    mean = variances.mean(axis=2, keepdims=True)
    largest = variances.max(axis=2, keepdims=True)
    logs = np.log(variances) - digamma(df / 2) + log(df / 2)
    excess = logs.var(axis=2, ddof=1, keepdims=True) - polygamma(1, df / 2)
    alike = excess <= 0
    halves = np.logspace(-3, 5, 8000)  # trigamma inverted by table
    prior = 2 * np.interp(-np.maximum(excess, 1e-9), -polygamma(1, halves), halves)
    level = np.exp(logs.mean(axis=2, keepdims=True))
    level = np.where(alike, level, level * np.exp(digamma(prior / 2)) / (prior / 2))
    moderated = (prior * level + df * variances) / (prior + df)

    def p(variance: Floats, of: float | Floats) -> Floats:
        found: Floats = stdtr(of, -means / np.sqrt(variance / launches))
        return found

    return {
        "its own": p(variances, df),
        "pooled": p(mean, df * _LAYOUTS),
        "moderated t": p(moderated, np.minimum(prior + df, df * _LAYOUTS)),
        "a prior of 2 df": p((2 * mean + df * variances) / (2 + df), 2 + df),
        "a prior of 1 df": p((mean + df * variances) / (1 + df), 1 + df),
        "the larger of own and pooled": p(np.maximum(variances, mean), df * _LAYOUTS),
        "the largest layout's": p(largest + 0 * variances, df * _LAYOUTS),
    }


def _pooling_errs() -> bool:
    """Print what pooling over layouts would do; whether the claims of the docstring hold."""
    holds = True
    noise = 3 * sqrt(ALPHA * (1 - ALPHA) / _SIMULATED)
    for launches in (3, 4, 5):
        for name, of in layouts_pooled(launches).items():
            figures = ", ".join(f"{figure} {value:.3f}" for figure, value in sorted(of.items()))
            print(f"{launches} launches, variance {name}: {figures}")
            worst = max(of["any"], of["one, X3"], of["one, X6"])
            holds &= (worst <= ALPHA + noise) == (name == "its own")
    return holds


def main(experiments: int) -> int:
    """Exit code 0 if the error rates are kept and the slowdown is found."""
    worst, least = 0.0, 1.0
    for launches in (4, 5, 6):
        alarm = share(Verdict.REGRESSED, experiments, launches, 0.001)
        family = share(
            Verdict.REGRESSED, experiments, launches, 0.001, arms=MATRIX, dps=(2, 4, 8)
        )  # fmt: skip
        passes = share(Verdict.PASS, experiments, launches, 0.03, factor=1.03)
        usual = share(Verdict.REGRESSED, experiments, launches, 0.03)
        found = share(Verdict.REGRESSED, experiments, launches, 0.03, factor=1.05)
        matrix = share(
            Verdict.REGRESSED, experiments // 4, launches, 0.03, factor=1.05, arms=MATRIX
        )  # fmt: skip
        print(
            f"{launches} launches: false alarms {alarm:.3f}, of a matrix of nine {family:.3f}, "
            f"with a margin of 3 % {usual:.3f}; "
            f"wrong passes {passes:.3f}; 5 % slower found {found:.3f}, as one of three {matrix:.3f}"
        )
        worst, least = max(worst, alarm, family, usual, passes), min(least, found)
    for told, spreads in (
        ("equal", (SPREAD,) * 4),
        ("one arm six times as large", (0.5, 0.5, 0.5, 3)),
    ):
        own, together = pooled(experiments, 4, tuple(spreads))
        print(f"spreads {told}: false alarms {own:.3f} with each own, {together:.3f} if pooled")
    errs = _pooling_errs()
    limit = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / experiments)
    holds = worst <= limit and least >= FOUND and errs
    print(f"5 % slower found in at least {least:.1%} (limit {FOUND:.0%})")
    verdict = "holds" if holds else "falls short"
    print(f"benchmark latency_calibration: {worst:.3f} (limit {limit:.3f}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
