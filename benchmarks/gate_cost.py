"""What a verdict costs in launches and questions, sequential against fixed design.

Usage: python -m benchmarks.gate_cost [EXPERIMENTS]

Launches: an arm of 3 launches that may buy up to 8, with a margin of 3 % and launch differences of
2 % inside a block, judged after each block as ``run`` and ``gate`` do; followed until it is decided
or the cap is met. Questions: 1319 GSM8K-like ones in ten stages with a margin of 1.5 points. Each
is held against the fixed design of the same error rates: the least launches (questions) that,
judged once, pass an equal arm as often, at the same error rate of a false pass, and find the small
harm at least as often or as often as they can.

The figure is the larger of the two means, over no change, small harm (one and a half margins) and
large harm (three margins), of what the sequential design used over what the fixed one needs. The
hardest place, a harm of exactly the margin, is told beside it, and other caps and spreads are
printed, too: with little power to spare, buying saves less. Claims, besides the figure's limit:

- false alarms of an equal arm without any margin to hide behind are at most alpha, alone and as one
  of nine comparisons; false passes of an arm that is worse by exactly the margin are at most alpha;
- a small sample of the simulated experiments gets the same verdict and the same number of bought
  launches from the gate that judges real runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from benchmarks.early_stopping import GSM8K, fixed_questions
from pipeline.gate import Verdict, judge
from pipeline.gate.extra_launches import needed
from pipeline.stats import decision, launch_design
from pipeline.stats.group_sequential import make_design
from pipeline.stats.launches import LEAST_SPREAD
from pipeline.stats.power import Comparison, Floats, Judge, ask_in_stages, draw_differences
from tests.pipeline.builders import make_plan_for_test, make_run

ALPHA, LIMIT = 0.05, 0.7
MARGIN = 0.03
SMALL, LARGE = 1.5, 3.0
MOST_FIXED = 40
# First look, cap, spread of the difference inside a block; the first is held to the limit.
DESIGNS = (
    (3, 8, 0.02), (3, 8, 0.01), (3, 12, 0.02), (3, 12, 0.03), (4, 10, 0.02), (2, 8, 0.02),
    (3, 6, 0.02), (3, 8, 0.03),
)  # fmt: skip
ARM = "mixed-comm"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Of many experiments: shares that pass and are regressed, and launches used on average."""

    passes: float
    alarms: float
    launches: float


def differences(runs: int, launches: int, change: float, spread: float, seed: int) -> Floats:
    """Changes of log ITL inside a block, one row an experiment."""
    return np.random.default_rng(seed).normal(change, spread, (runs, launches))


def _at(rows: Floats, launches: int, passing: float, harm: float, margin: float) -> Floats:
    """1 for a pass, 2 for regressed, else 0: the gate's rule on the first launches of each row."""
    seen = rows[:, :launches]
    mean = seen.mean(axis=1)
    error = np.maximum(seen.std(axis=1, ddof=1), LEAST_SPREAD) / sqrt(launches)
    reach = stdtrit(launches - 1, 1 - passing) * error
    change = decision.Change(
        gain=-mean,
        lower=-mean - reach,
        upper=-mean + reach,
        p_worse=stdtr(launches - 1, -mean / error),
    )
    regressed = decision.is_regressed(change, margin, harm)
    passed = decision.excludes(change, margin)
    return np.where(regressed, 2, np.where(passed, 1, 0))


def sequential(rows: Floats, first: int, margin: float, alarms: int = 1) -> Rates:
    """Look after each block; the number of columns is the cap."""
    design = launch_design(first, rows.shape[1], ALPHA, alarms=alarms)
    state, used = np.zeros(len(rows)), np.full(len(rows), rows.shape[1])
    levels = zip(design.sizes, design.pass_levels, design.harm_levels, strict=True)
    for size, passing, harm in levels:
        new = _at(rows, size, passing, harm, margin)
        ended = (state == 0) & (new > 0)
        state[ended], used[ended] = new[ended], size
    return _rates(state, used)


def fixed(rows: Floats, launches: int, margin: float) -> Rates:
    """Judge once."""
    state = _at(rows, launches, ALPHA, ALPHA, margin)
    return _rates(state, np.full(len(rows), launches))


def _rates(state: Floats, used: Floats) -> Rates:
    return Rates(
        passes=float((state == 1).mean()),
        alarms=float((state == 2).mean()),
        launches=float(used.mean()),
    )


def launch_study(first: int, most: int, spread: float, runs: int) -> tuple[float, float]:
    """Print one design; its launches over those of the fixed one, and its worst error rate."""
    margin = log(1 + MARGIN)
    told = {
        times: sequential(differences(runs, most, times * margin, spread, 1), first, margin)
        for times in (0.0, 1.0, SMALL, LARGE)
    }
    equal = differences(runs, MOST_FIXED, 0.0, spread, 2)
    least = next(
        (n for n in range(2, MOST_FIXED) if fixed(equal, n, margin).passes >= told[0.0].passes),
        MOST_FIXED,
    )
    small = fixed(differences(runs, least, SMALL * margin, spread, 3), least, margin)
    free = differences(runs, most, 0.0, spread, 4)
    alarm, nine = sequential(free, first, 0.0), sequential(free, first, 0.0, alarms=9)
    share = {times: rates.launches / least for times, rates in told.items()}
    mean = (share[0.0] + share[SMALL] + share[LARGE]) / 3
    print(
        f"  {first} to {most} launches, spread {spread:.0%}: uses {mean:.3f} of the {least} of a "
        f"fixed design (no change {share[0.0]:.2f}, small harm {share[SMALL]:.2f}, large "
        f"{share[LARGE]:.2f}; at the margin {share[1.0]:.2f}); equal arms pass "
        f"{told[0.0].passes:.3f}, small harm found {told[SMALL].alarms:.3f} (fixed "
        f"{small.alarms:.3f}), large {told[LARGE].alarms:.3f}; false passes "
        f"{told[1.0].passes:.4f}, false alarms {alarm.alarms:.4f}, of nine together at most "
        f"{9 * nine.alarms:.4f}"
    )
    return mean, max(told[1.0].passes, alarm.alarms, 9 * nine.alarms)


def question_study(runs: int) -> tuple[float, float]:
    """Questions over those of the fixed design, and the worst error rate."""
    one = Comparison(
        difficulty=GSM8K, questions=1319, repeats=1, reference_repeats=1, margin=0.015, alpha=ALPHA
    )
    design, judge_once = make_design(one.questions, one.margin, ALPHA), Judge()

    def asked(loss: float, seed: int) -> tuple[list[str], float]:
        rows = draw_differences(one, loss, runs, np.random.default_rng(seed))
        ends = [ask_in_stages(row, design, judge_once) for row in rows]
        return [outcome for outcome, _ in ends], sum(n for _, n in ends) / runs

    equal, calm = asked(0.0, 1)
    at_margin, hardest = asked(one.margin, 2)
    found, small = asked(SMALL * one.margin, 3)
    _, large = asked(LARGE * one.margin, 4)
    false = at_margin.count("pass") / runs
    rows = draw_differences(one, 0.0, runs, np.random.default_rng(1))
    least = fixed_questions(rows, one.margin, ALPHA, equal.count("pass") / runs, judge_once)
    mean = (calm + small + large) / 3 / least
    print(
        f"  1319 questions in ten stages: asks {mean:.3f} of the {least} of a fixed design (no "
        f"change {calm:.0f}, small harm {small:.0f}, large {large:.0f}; at the margin "
        f"{hardest:.0f}); equal arms pass {equal.count('pass') / runs:.3f}, small harm found "
        f"{found.count('regressed') / runs:.3f}; false passes {false:.4f}, false alarms "
        f"{equal.count('regressed') / runs:.4f}"
    )
    return mean, max(false, equal.count("regressed") / runs)


def gate_agrees(experiments: int) -> bool:
    """Whether run's and gate's own functions buy and say what the arrays above do."""
    plan = make_plan_for_test(
        dps=(4,), launches=3, most=6, alpha=ALPHA,
        jobs={"latency": {"kind": "latency", "input_len": 64, "concurrency": 8}},
        gates={"latency": {"median_itl_ms": {"margin": MARGIN}}},
    )  # fmt: skip
    made = make_run(plan)
    cells = {(record.arm, record.block): cell for cell, record in made.records.items()}
    words = {0: Verdict.INCONCLUSIVE, 1: Verdict.PASS, 2: Verdict.REGRESSED}
    margin = log(1 + MARGIN)
    design = launch_design(3, 6, ALPHA)
    rows = differences(experiments, 6, 0.5 * margin, 0.02, 5)
    for row in rows:
        launches, state = 3, 0
        for size, passing, harm in zip(
            design.sizes, design.pass_levels, design.harm_levels, strict=True
        ):
            launches, state = size, int(_at(row[None, :], size, passing, harm, margin)[0])
            if state:
                break
        records = []
        for (arm, block), cell in cells.items():
            if block < launches:
                at = 10 * exp(row[block]) if arm == ARM else 10.0
                found = made.records[cell]
                records.append(found.model_copy(update={"metrics": {"median_itl_ms": at}}))
        took = max((b for b in range(3, 6) if needed(plan, records, {}, b)), default=2) + 1
        checks = [c for r in judge(plan, records, made.read, {}).rows for c in r.checks if c.gated]
        said = checks[0].verdict
        # A gain beyond the margin is a pass that also claims.
        agreed = said is words[state] or (state == 1 and said is Verdict.IMPROVED)
        if took != launches or not agreed:
            print(f"  the gate says {said} after {took}, not {words[state]} after {launches}")
            return False
    return True


def main(runs: int) -> int:
    """Exit code 0 if every claim holds."""
    print("launches:")
    studies = [launch_study(first, most, spread, runs) for first, most, spread in DESIGNS]
    print("questions:")
    asked = max(500, runs // 20)
    questions = question_study(asked)
    agrees = gate_agrees(40)
    print(f"gate: {'the same' if agrees else 'not the same'} as simulated, over 40 experiments")
    noise = 3 * sqrt(ALPHA * (1 - ALPHA))
    kept = all(worst <= ALPHA + noise / sqrt(runs) for _, worst in studies)
    kept = kept and questions[1] <= ALPHA + noise / sqrt(asked)
    print(f"error rates: {'kept' if kept else 'not kept'}")
    figure = max(studies[0][0], questions[0])
    holds = figure <= LIMIT and kept and agrees
    print(
        f"benchmark gate_cost: {figure:.3f} (limit {LIMIT}) {'holds' if holds else 'falls short'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000))
