"""How much faster or slower an arm is than the reference; the replicate is the server launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from pipeline.stats.proportions import Interval

# Ratios suit a verdict; only differences add up, as they must where one is explained by others.


@dataclass(frozen=True, kw_only=True)
class LaunchShift:
    """A difference, arm less reference, from one value a launch.

    Attributes:
        change: Mean of the arm less that of the reference.
        error: Its standard error; None where a side has one launch.
        df: Degrees of freedom of the error.
        n_reference: Launches of the reference.
        n_arm: Launches of the arm.
    """

    change: float
    error: float | None
    df: float
    n_reference: int
    n_arm: int

    def interval(self, alpha: float) -> Interval | None:
        """Student's t interval, each side with error rate ``alpha``; None for one launch."""
        if self.error is None:
            return None
        half = float(stdtrit(self.df, 1 - alpha)) * self.error
        return Interval(self.change - half, self.change + half)


def launch_shift(reference: Mapping[int, float], arm: Mapping[int, float]) -> LaunchShift:
    """Difference of launch values, paired where both sides have the same blocks, else Welch's.

    Args:
        reference: One value a launch, by block.
        arm: The same for the arm.

    Raises:
        ValueError: A side has no value.
    """
    if not reference or not arm:
        raise ValueError("a difference needs at least one value on each side")
    change = float(np.mean(list(arm.values())) - np.mean(list(reference.values())))
    error, df = (
        _paired(reference, arm) if reference.keys() == arm.keys() else _welch_shift(reference, arm)
    )
    return LaunchShift(
        change=change, error=error, df=df, n_reference=len(reference), n_arm=len(arm)
    )


def minus(one: LaunchShift, other: LaunchShift) -> LaunchShift:
    """Difference of two differences that rest on launches of their own.

    Degrees of freedom by Welch and Satterthwaite (F. E. Satterthwaite, Biometrics Bulletin 2 (1946)
    110-114).
    """
    error: float | None = None
    df = inf
    if one.error is not None and other.error is not None:
        squares = [(one.error**2, one.df), (other.error**2, other.df)]
        total = sum(square for square, _ in squares)
        error = sqrt(total)
        below = sum(square**2 / each for square, each in squares)
        df = total**2 / below if below > 0 else min(one.df, other.df)
    return LaunchShift(
        change=one.change - other.change,
        error=error,
        df=df,
        n_reference=min(one.n_reference, other.n_reference),
        n_arm=min(one.n_arm, other.n_arm),
    )


def _paired(reference: Mapping[int, float], arm: Mapping[int, float]) -> tuple[float | None, float]:
    n = len(reference)
    if n < 2:
        return None, 0.0
    return float(np.std([arm[b] - reference[b] for b in reference], ddof=1)) / sqrt(n), n - 1


def _welch_shift(
    reference: Mapping[int, float], arm: Mapping[int, float]
) -> tuple[float | None, float]:
    sides = [np.array(list(side.values())) for side in (reference, arm)]
    if min(len(side) for side in sides) < 2:
        return None, 0.0
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    df = sum(parts) ** 2 / below if below > 0 else min(len(side) for side in sides) - 1
    return sqrt(sum(parts)), float(df)


# Launch medians of real machines do not repeat better than this; two that happen to be equal (or
# were rounded to be) must not prove a ratio exactly.
LEAST_SPREAD = 0.001

# More launches than anybody would pay for.
_MOST_LAUNCHES = 200


@dataclass(frozen=True, kw_only=True)
class LaunchRatio:
    """Arm over reference, from one value a launch.

    Attributes:
        ratio: Geometric mean of the arm over that of the reference.
        interval: Bounds of the ratio, each with the asked error rate; None for one launch.
        p_lower: One-sided p-value of "the ratio is not below 1"; None for one launch.
        p_higher: One-sided p-value of "the ratio is not above 1"; None for one launch.
        n_reference: Launches of the reference.
        n_arm: Launches of the arm.
        paired: Compared inside blocks, else as two independent samples.
        spread: Standard deviation of the log differences inside blocks (paired), or that of a
            difference of one launch of each (else); None for one launch.
        method: Which interval was used.
    """

    ratio: float
    interval: Interval | None
    p_lower: float | None
    p_higher: float | None
    n_reference: int
    n_arm: int
    paired: bool
    spread: float | None
    method: str


def launch_ratio(
    reference: Mapping[int, float], arm: Mapping[int, float], alpha: float
) -> LaunchRatio:
    """Ratio of launch medians, arm over reference, by Student's t on their logarithms.

    Paired by block when both arms have the same blocks (df = blocks - 1), else Welch's two-sample t
    (B. L. Welch, Biometrika 34 (1947) 28-35). Requests and tokens of one launch are no replicates:
    they share its graph capture, memory layout and clocks. Levels of repetition as in T. Kalibera
    and R. Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013. A spread of the logarithms
    below 0.001 is taken as 0.001.

    Args:
        reference: One positive value a launch, by block.
        arm: The same for the arm.
        alpha: Error rate of each side of the interval.

    Raises:
        ValueError: A side has no value, or one is not positive.
    """
    if not reference or not arm or min(*reference.values(), *arm.values(), 1.0) <= 0:
        raise ValueError("a ratio needs at least one value on each side, and positive ones")
    logs_r = {block: log(value) for block, value in reference.items()}
    logs_a = {block: log(value) for block, value in arm.items()}
    theta = float(np.mean(list(logs_a.values())) - np.mean(list(logs_r.values())))
    paired = reference.keys() == arm.keys()
    spread, error, df = _paired_error(logs_r, logs_a) if paired else _welch(logs_r, logs_a)
    if spread is None:
        interval, p_lower, p_higher = None, None, None
    else:
        half = float(stdtrit(df, 1 - alpha)) * error
        interval = Interval(exp(theta - half), exp(theta + half))
        p_lower = float(stdtr(df, theta / error))
        p_higher = float(stdtr(df, -theta / error))
    return LaunchRatio(
        ratio=exp(theta),
        interval=interval,
        p_lower=p_lower,
        p_higher=p_higher,
        n_reference=len(reference),
        n_arm=len(arm),
        paired=paired,
        spread=spread,
        method="paired t on log launch medians" if paired else "Welch's t on log launch medians",
    )


_Error = tuple[float | None, float, float]


def _paired_error(reference: Mapping[int, float], arm: Mapping[int, float]) -> _Error:
    n = len(reference)
    if n < 2:
        return None, 0.0, 0.0
    spread = max(float(np.std([arm[b] - reference[b] for b in reference], ddof=1)), LEAST_SPREAD)
    return spread, spread / sqrt(n), n - 1


def _welch(reference: Mapping[int, float], arm: Mapping[int, float]) -> _Error:
    sides = [np.array(list(side.values())) for side in (reference, arm)]
    if min(len(side) for side in sides) < 2:
        return None, 0.0, 0.0
    variances = [max(float(side.var(ddof=1)), LEAST_SPREAD**2 / 2) for side in sides]
    parts = [variance / len(side) for variance, side in zip(variances, sides, strict=True)]
    square = sum(parts)
    df = square**2 / sum(p**2 / (len(side) - 1) for p, side in zip(parts, sides, strict=True))
    return sqrt(sum(variances)), sqrt(square), df


def launches_needed(
    n: int, half_width: float, margin: float, alpha: float, power: float
) -> int | None:
    """Least launches an arm that show an equal arm to be within the margin; None: over 200.

    Solves (t_{1-alpha} + t_{power}) * spread / sqrt(m) <= margin with m - 1 degrees of freedom, the
    usual approximation of a paired t test's power; the spread is what ``n`` launches showed.

    Args:
        n: Launches so far, at least 2.
        half_width: Of the log ratio's interval, paired.
        margin: The margin as a difference of logarithms.
        alpha: Error rate of each side.
        power: Wanted chance that an arm without any difference passes.
    """
    spread = half_width * sqrt(n) / float(stdtrit(n - 1, 1 - alpha))
    for m in range(2, _MOST_LAUNCHES + 1):
        quantiles = float(stdtrit(m - 1, 1 - alpha)) + float(stdtrit(m - 1, power))
        if quantiles * spread / sqrt(m) <= margin:
            return m
    return None
