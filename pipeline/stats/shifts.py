"""By how much an arm differs from the reference, in a metric's own unit; the replicate is a launch.

Ratios suit a verdict; only differences add up, as they must where one is explained by others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy.special import stdtrit

from pipeline.stats.proportions import Interval

__all__ = ["LaunchShift", "launch_shift", "minus"]


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
        _paired(reference, arm) if reference.keys() == arm.keys() else _welch(reference, arm)
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


def _welch(reference: Mapping[int, float], arm: Mapping[int, float]) -> tuple[float | None, float]:
    sides = [np.array(list(side.values())) for side in (reference, arm)]
    if min(len(side) for side in sides) < 2:
        return None, 0.0
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    df = sum(parts) ** 2 / below if below > 0 else min(len(side) for side in sides) - 1
    return sqrt(sum(parts)), float(df)
