"""Asking in stages: stop as soon as the verdict is decided, at the error rates of asking them all.

A group-sequential design spends its error rate over the stages (K. K. G. Lan and D. L. DeMets,
Discrete sequential boundaries for clinical trials, Biometrika 70 (1983) 659-663). Each stage then
has a nominal level, and is judged at that level by the same functions as a whole run: Tango's score
interval and exact tests for few flips, never the normal approximation alone. Only the dependence
between the stages is taken from normal theory; ``benchmarks/early_stopping.py`` holds what comes of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import e, log, sqrt
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, stdtr

from pipeline.stats.decision import state_of, unseen_collapse
from pipeline.stats.paired import PairedDifference, paired_difference

# A group-sequential design (K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983) 659-663) of
# Student's t: the looks share the error rate as normal theory says, and are judged by the t test at
# their level (the significance level approach: C. Jennison and B. W. Turnbull, Group Sequential
# Methods, 2000, section 4.4). With three launches t depends less on what was seen before than a
# normal score does, so that 5 % would become 5.8 %; all levels are therefore made smaller by one
# factor, found by simulating t itself. ``benchmarks/gate_cost.py`` holds what comes of it.


# One launch shows nothing of how launches differ.
_LEAST = 2

# Simulated experiments behind the factor; always the same ones.
_RUNS, _SEED = 100_000, 20_261

# alpha t. Simulated with 3 to 8 launches and a spread of 2 % it passes an equal arm of a margin of
# 3 % in 0.944 after 5.0 launches on average; pocock 0.926 after 4.9, alpha t^1.5 0.958 after 5.1,
# O'Brien and Fleming 0.978 after 5.5.
LAUNCH_PASSING: Spending = "linear"
LAUNCH_ALARMING: Spending = "linear"


@dataclass(frozen=True, kw_only=True)
class LaunchDesign:
    """The looks at one comparison of launches.

    Attributes:
        sizes: Launches an arm at each look, rising by one.
        pass_levels: Nominal one-sided error rate of each look's bound on the harm.
        harm_levels: Nominal one-sided error rate of each look's alarm, and of its claim of a gain.
    """

    sizes: tuple[int, ...]
    pass_levels: tuple[float, ...]
    harm_levels: tuple[float, ...]

    def look(self, launches: int) -> int:
        """The look, from 0, that so many launches are judged at.

        Fewer than two have none of their own and are held to the first.

        Raises:
            ValueError: More launches than the design has.
        """
        if launches > self.sizes[-1]:
            raise ValueError(f"the design ends with {self.sizes[-1]} launches, not {launches}")
        return max(0, launches - self.sizes[0])


@lru_cache(maxsize=64)
def launch_design(
    first: int,
    most: int,
    alpha: float,
    *,
    alarms: int = 1,
    passing: Spending = LAUNCH_PASSING,
    harm: Spending = LAUNCH_ALARMING,
) -> LaunchDesign:
    """A look after each block from ``first`` to ``most`` launches an arm.

    Args:
        first: Launches an arm that are always made; below 2 the first look is at 2.
        most: The cap, at least 2 and at least ``first``.
        alpha: One-sided error rate over all looks: of a false pass at the margin, and of a false
            alarm for all ``alarms`` together.
        alarms: Comparisons that can raise an alarm; each may use alpha divided by that.
        passing: How the error rate of a pass is spent.
        harm: How that of an alarm is spent.

    Raises:
        ValueError: A number is out of its range.
    """
    if not 1 <= first <= most or most < _LEAST or alarms < 1 or not 0 < alpha < 0.5:
        raise ValueError(
            "a design of launches needs 1 <= first <= most, most of at least 2, alarms of at "
            f"least 1 and alpha in (0, 0.5); got {first}, {most}, {alarms} and {alpha}"
        )
    sizes = tuple(range(max(first, _LEAST), most + 1))
    shares = [size / most for size in sizes]
    return LaunchDesign(
        sizes=sizes,
        pass_levels=_held(sizes, nominal_levels(shares, alpha, passing), alpha),
        harm_levels=_held(sizes, nominal_levels(shares, alpha / alarms, harm), alpha / alarms),
    )


def _held(sizes: tuple[int, ...], levels: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """The levels times the factor, at most 1, with which t crosses any of them at most so often.

    Two standard errors of the simulation on the safe side.
    """
    closest = np.min(_p_values(sizes) / np.array(levels), axis=1)
    rank = int(alpha * _RUNS - 2 * sqrt(alpha * _RUNS))
    factor = min(1.0, float(np.partition(closest, max(rank, 0))[max(rank, 0)]))
    return tuple(level * factor for level in levels)


@lru_cache(maxsize=4)
def _p_values(sizes: tuple[int, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """One-sided p-values of runs without a difference, one column a look."""
    drawn = np.random.default_rng(_SEED).normal(size=(_RUNS, sizes[-1]))
    sums, squares = np.cumsum(drawn, axis=1), np.cumsum(drawn**2, axis=1)
    n = np.array(sizes)
    means = sums[:, n - 1] / n
    variances = (squares[:, n - 1] - n * means**2) / (n - 1)
    result: np.ndarray[tuple[int, int], np.dtype[np.float64]] = stdtr(
        n - 1, -means * np.sqrt(n / variances)
    )
    return result


Spending = Literal["obrien-fleming", "pocock", "linear", "power-1.5", "cubic"]

# Points at which the density of the score is followed between stages, and where it ends, in
# standard deviations. Published bounds are met to three digits (see the tests).
_POINTS = 1201
_REACH = 8.0

SPENDING: Mapping[Spending, Callable[[float, float], float]] = {
    # Lan and DeMets (1983), one-sided; their two named functions.
    "obrien-fleming": lambda alpha, t: 2 * float(ndtr(ndtri(alpha / 2) / sqrt(t))),
    "pocock": lambda alpha, t: alpha * log(1 + (e - 1) * t),
    # alpha t^rho: K. Kim and D. L. DeMets, Biometrika 74 (1987) 149-154.
    "linear": lambda alpha, t: alpha * t,
    "power-1.5": lambda alpha, t: alpha * t**1.5,
    "cubic": lambda alpha, t: alpha * t**3,
}
"""Error rate spent until a share ``t`` in (0, 1] of the questions, by name."""


def nominal_levels(shares: Sequence[float], alpha: float, spending: Spending) -> tuple[float, ...]:
    """The one-sided level of each look at which the chance to cross at any of them is alpha.

    Follows the density of the score process that has not crossed yet from look to look, by the
    trapezoid rule (P. Armitage, C. K. McPherson and B. C. Rowe, J. R. Statist. Soc. A 132 (1969)
    235-244). The two sides of a design are independent of each other: neither counts on the other
    to have stopped the trial.

    Args:
        shares: Information at each look, rising, in (0, 1].
        alpha: Error rate over all looks.
        spending: How it is spent.
    """
    spent = [SPENDING[spending](alpha, share) for share in shares]
    bounds = [_normal_bound(spent[0])]
    grid = np.linspace(-_REACH * sqrt(shares[0]), bounds[0] * sqrt(shares[0]), _POINTS)
    density = _density(grid, shares[0])
    for look in range(1, len(shares)):
        step = shares[look] - shares[look - 1]
        weighted = density * _weights(grid)
        bounds.append(_bound(grid, weighted, step, shares[look], spent[look] - spent[look - 1]))
        new = np.linspace(-_REACH * sqrt(shares[look]), bounds[-1] * sqrt(shares[look]), _POINTS)
        density = _density(new[:, None] - grid[None, :], step) @ weighted
        grid = new
    return tuple(float(np.exp(log_ndtr(-bound))) for bound in bounds)


_Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _density(at: _Floats, variance: float) -> _Floats:
    result: _Floats = np.exp(-at * at / (2 * variance)) / sqrt(2 * np.pi * variance)
    return result


def _weights(grid: _Floats) -> _Floats:
    weights = np.full(grid.shape, grid[1] - grid[0])
    weights[[0, -1]] /= 2
    return weights


def _normal_bound(level: float) -> float:
    return -float(ndtri(level))


def _bound(grid: _Floats, weighted: _Floats, step: float, share: float, level: float) -> float:
    """The z at which the density, one step on, has ``level`` beyond it."""
    from scipy.optimize import brentq  # slow to load, and not always needed

    def beyond(bound: float) -> float:
        crossing = ndtr((grid - bound * sqrt(share)) / sqrt(step))
        return float(np.log(max(float(weighted @ crossing), 1e-300)) - log(level))

    return float(brentq(beyond, -_REACH, 3 * _REACH, xtol=1e-9))


Outcome = Literal["continue", "pass", "regressed", "undecided"]

# Of pocock, linear and this one, with which an equal arm is asked the fewest questions for the same
# error rates (benchmarks/early_stopping.py has its figures).
PASSING: Spending = "power-1.5"
# An alarm after a tenth of the questions must be beyond doubt, and a broken arm is.
ALARMING: Spending = "cubic"


@dataclass(frozen=True, kw_only=True)
class Design:
    """When to look, and how strictly.

    Attributes:
        sizes: Questions asked until the end of each stage, rising; the last is all of them.
        margin: Largest acceptable loss, a fraction.
        alpha: One-sided error rate of a false pass over all stages.
        pass_levels: Nominal one-sided error rate of each stage's bound on the loss; 0 where no pass
            is possible yet.
        harm_levels: Nominal one-sided error rate of each stage's alarm.
    """

    sizes: tuple[int, ...]
    margin: float
    alpha: float
    pass_levels: tuple[float, ...]
    harm_levels: tuple[float, ...]

    def level(self, stage: int) -> float:
        """The error rate at which a stage's interval is taken.

        Where no pass is possible yet, that of the first stage at which one is.
        """
        return next((level for level in self.pass_levels[stage:] if level), self.alpha)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one stage allows to say.

    Attributes:
        outcome: ``continue`` asks the next stage; ``undecided`` is the end without a verdict.
        stage: From 0.
        questions: Compared so far.
        of: Questions of the whole design.
        difference: At this stage's level. Over the stages that can pass these are repeated
            confidence intervals, which hold at whichever one stops (C. Jennison and B. W. Turnbull,
            J. R. Statist. Soc. B 51 (1989) 305-361).
    """

    outcome: Outcome
    stage: int
    questions: int
    of: int
    difference: PairedDifference


@lru_cache(maxsize=64)
def make_design(
    questions: int,
    margin: float,
    alpha: float,
    *,
    stages: int = 10,
    alarms: int = 1,
    passing: Spending = PASSING,
    harm: Spending = ALARMING,
) -> Design:
    """Stages of equal size; the first is never more than its share.

    No stage passes an arm before so many questions were asked that a loss of the margin that is
    whole on a few of them would have met one with a chance of 1 - alpha. Nothing in the answers
    tells of such questions while none of them has been asked.

    Args:
        questions: Of the whole job, at least 1; fewer stages are made of fewer questions.
        margin: Largest acceptable loss, a fraction in (0, 1).
        alpha: One-sided error rate, in (0, 0.5), of a false pass and, for all ``alarms`` together,
            of a false alarm.
        stages: At least 1; one stage is the fixed design.
        alarms: Comparisons that can raise an alarm (arms, layouts, benchmarks); each may use alpha
            divided by that.
        passing: How the error rate of a pass is spent.
        harm: How that of an alarm is spent.

    Raises:
        ValueError: A number is out of its range.
    """
    if min(questions, stages, alarms) < 1 or not 0 < alpha < 0.5 or not 0 < margin < 1:
        raise ValueError(
            "a design needs questions, stages and alarms of at least 1, a margin in (0, 1) and "
            f"alpha in (0, 0.5); got {questions}, {stages}, {alarms}, {margin} and {alpha}"
        )
    count = min(stages, questions)
    sizes = tuple(questions * (stage + 1) // count for stage in range(count))
    shares = [size / questions for size in sizes]
    blind = sum(unseen_collapse(size, margin) > alpha for size in sizes)
    passes = nominal_levels(shares[blind:], alpha, passing) if blind < count else ()
    return Design(
        sizes=sizes,
        margin=margin,
        alpha=alpha,
        pass_levels=(0.0,) * blind + passes,
        harm_levels=nominal_levels(shares, alpha / alarms, harm),
    )


def decide(
    design: Design,
    stage: int,
    reference: Mapping[str, float],
    arm: Mapping[str, float],
    *,
    higher_is_better: bool = True,
) -> Decision:
    """Judge what was answered until the end of a stage.

    Pass: the bound on the harmful side, at the stage's level, excludes a loss of the margin.
    Regressed: that loss is not excluded, and the arm is worse at the level of the stage's alarm.
    The same rules as at the end of a job that is not staged, where they are called at alpha.

    Args:
        design: The design; made before anything was asked.
        stage: From 0.
        reference: Mean in [0, 1] of every question asked so far, by id.
        arm: The same ids.
        higher_is_better: False for a rate of something bad.

    Raises:
        ValueError: No such stage, more questions than it has, or the ids differ.
    """
    if not 0 <= stage < len(design.sizes):
        raise ValueError(f"the design has stages 0 to {len(design.sizes) - 1}, not {stage}")
    if len(reference) > design.sizes[stage]:
        raise ValueError(
            f"stage {stage} ends with {design.sizes[stage]} questions, not {len(reference)}; judge "
            "only what its order asks first"
        )
    seen = paired_difference(reference, arm, design.level(stage))
    return Decision(
        outcome=outcome_of(design, stage, seen, higher_is_better=higher_is_better),
        stage=stage,
        questions=len(reference),
        of=design.sizes[-1],
        difference=seen,
    )


def outcome_of(
    design: Design, stage: int, seen: PairedDifference, *, higher_is_better: bool = True
) -> Outcome:
    """The rule of :func:`decide` for a difference that was taken at ``design.level(stage)``."""
    state = state_of(
        seen,
        design.margin,
        design.harm_levels[stage],
        alpha=design.alpha,
        higher_is_better=higher_is_better,
    )
    return "continue" if state == "undecided" and stage + 1 < len(design.sizes) else state
