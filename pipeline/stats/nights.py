"""Is tonight slower or less right than the nights before it? The replicate is the night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from pipeline.stats.proportions import Interval

__all__ = ["NightDifference", "NightSpread", "night_difference", "night_spread"]


@dataclass(frozen=True, kw_only=True)
class NightSpread:
    """How far nights lie apart by themselves.

    Attributes:
        sd: Standard deviation of one night's value, in the values' unit.
        df: Its equivalent degrees of freedom.
        nights: Nights that it is taken from.
    """

    sd: float
    df: float
    nights: int


@dataclass(frozen=True, kw_only=True)
class NightDifference:
    """Tonight minus the mean of baseline nights, in the values' unit.

    Attributes:
        difference: The estimate.
        interval: Its bounds, each with the asked error rate; None where no spread is known.
        p_higher: One-sided p-value of "tonight is not higher"; None likewise.
        p_lower: One-sided p-value of "tonight is not lower"; None likewise.
        nights: Baseline nights.
    """

    difference: float
    interval: Interval | None
    p_higher: float | None
    p_lower: float | None
    nights: int


def night_spread(values: Sequence[Sequence[float]], least: float) -> NightSpread | None:
    """Spread between nights from successive differences; None where no two nights follow.

    A slow drift inflates a standard deviation about the mean, and a gate that uses it then hides
    the drift. Differences of neighbours hold nearly none of it: s^2 = mean(d^2) / 2. J. von
    Neumann, R. Kent, H. Bellinson, B. Hart, "The Mean Square Successive Difference", Annals of
    Mathematical Statistics 12 (1941) 153-162; its variance sigma^4 (3n - 4) / (n - 1)^2 gives
    2 (n - 1)^2 / (3n - 4) equivalent degrees of freedom. It holds both what nights and what the
    launches of one night differ by.

    Args:
        values: One value a night in order of time, in stretches without a deliberate change; no
            difference is taken across two stretches.
        least: What the spread is never taken to be below.
    """
    differences = [np.diff(np.asarray(part, dtype=float)) for part in values if len(part) > 1]
    if not differences:
        return None
    variance = float(np.mean(np.concatenate(differences) ** 2)) / 2
    # Stretches are independent: the variances of their sums of squares add.
    count = sum(map(len, differences))
    df = 2 * count**2 / sum(3 * len(part) - 1 for part in differences)
    return NightSpread(sd=max(sqrt(variance), least), df=df, nights=count + len(differences))


def night_difference(
    tonight: float, nights: Sequence[float], spread: NightSpread | None, alpha: float
) -> NightDifference:
    """Hold one night against the mean of others, by Student's t for a further observation.

    The error is sd * sqrt(1 + 1/k): tonight's own deviation and that of the mean of k nights.

    Args:
        tonight: Tonight's value.
        nights: The baseline's, at least one.
        spread: How far nights lie apart.
        alpha: Error rate of each side of the interval.

    Raises:
        ValueError: There is no baseline night.
    """
    if not nights:
        raise ValueError("a baseline needs at least one night")
    difference = tonight - float(np.mean(nights))
    if spread is None:
        return NightDifference(
            difference=difference, interval=None, p_higher=None, p_lower=None, nights=len(nights)
        )
    error = spread.sd * sqrt(1 + 1 / len(nights))
    half = float(stdtrit(spread.df, 1 - alpha)) * error
    return NightDifference(
        difference=difference,
        interval=Interval(difference - half, difference + half),
        p_higher=float(stdtr(spread.df, -difference / error)),
        p_lower=float(stdtr(spread.df, difference / error)),
        nights=len(nights),
    )
