"""Intervals of a single score and of a difference between paired proportions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

__all__ = ["FEW", "Interval", "mean_score", "tango", "wilson"]

# With fewer questions than this off the common value, their spread says too little of the true
# one for an interval built on it; simulated coverage falls below nominal there
# (tests/pipeline/stats/test_stats.py).
FEW = 15


class Interval(NamedTuple):
    """Two bounds; each holds on its own with the one-sided error rate that was asked for."""

    lower: float
    upper: float

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(min(self.lower, other.lower), max(self.upper, other.upper))

    def clip(self, lowest: float, highest: float) -> Interval:
        """The part of it that lies in the possible range."""
        return Interval(max(self.lower, lowest), min(self.upper, highest))


def wilson(successes: float, n: int, alpha: float) -> Interval:
    """Wilson's score interval of one proportion.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 22 (1927) 209-212. Written out, since statsmodels takes half a second to import; a test
    compares.

    Args:
        successes: Between 0 and ``n``; may be fractional (a sum of scores in [0, 1]), and is
            conservative then, since no such score varies more than a yes-or-no one of its mean.
        n: Questions, at least 1.
        alpha: Error rate of each side.
    """
    z = float(ndtri(1 - alpha))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(max(p * (1 - p), 0) / n + z * z / (4 * n * n))
    # The formula gives 0 and 1 there but for the last bit.
    return Interval(
        0.0 if successes <= 0 else centre - half, 1.0 if successes >= n else centre + half
    )


def mean_score(scores: Sequence[float], alpha: float) -> Interval:
    """Interval of a mean of per-question scores in [0, 1]; the question is the unit.

    Scores that are all 0 or 1 get Wilson's interval. Means over repeats get
    :func:`mean_interval` over questions, built on the question-clustered standard error of Miller,
    Adding Error Bars to Evals, arXiv 2411.00640; widened to Wilson's where nearly all questions
    have the same score, so that it never has zero width.

    Args:
        scores: One a question, at least one.
        alpha: Error rate of each side.
    """
    values = np.asarray(scores, dtype=float)
    conservative = wilson(float(values.sum()), len(values), alpha)
    if np.all((values == 0) | (values == 1)):
        return conservative
    [(_, common)] = Counter(values.tolist()).most_common(1)
    if len(values) - common < FEW:
        return mean_interval(values, alpha).hull(conservative).clip(0, 1)
    return mean_interval(values, alpha).clip(0, 1)


def mean_interval(values: np.ndarray[tuple[int], np.dtype[np.float64]], alpha: float) -> Interval:
    """Score interval of a mean with Student's quantile; unbounded for fewer than two values.

    Student's t interval takes the spread seen as the spread at every mean. Where a few values far
    below the others make the mean, that is too narrow on their side: with one of three broken
    questions in the sample, a t interval vouches for the mean that it saw. As in Wilson's interval
    the spread is therefore that at the bound: it changes with the mean at the rate m3 / s^2, the
    slope of the variance along an exponential tilt of the data (for yes or no that is 1 - 2p,
    Wilson's own slope; B. Efron, Canad. J. Statist. 9 (1981) 139-158), where that widens the bound.
    Without skewness both bounds are Student's. ``benchmarks/accuracy_calibration.py`` holds the
    error rates of both.
    """
    n = len(values)
    if n < 2:
        return Interval(float("-inf"), float("inf"))
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    if variance == 0:
        return Interval(mean, mean)
    third = float(((values - mean) ** 3).sum()) * n / ((n - 1) * (n - 2)) if n > 2 else 0.0
    t2 = float(stdtrit(n - 1, 1 - alpha)) ** 2
    down, up = (max(0.0, sign * third / variance) * t2 / n for sign in (-1, 1))
    square = 4 * t2 * variance / n
    return Interval(
        mean - (down + sqrt(down * down + square)) / 2, mean + (up + sqrt(up * up + square)) / 2
    )


def tango(better: float, worse: float, n: int, alpha: float) -> Interval:
    """Tango's score interval of a difference between paired proportions, (better - worse) / n.

    It inverts the score test with the constrained maximum likelihood estimate of the discordant
    probability, so it has a width also when all pairs agree (z^2 / (n + z^2) on each side).
    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design, Statist. Med. 17 (1998) 891-908.

    Args:
        better: Pairs in which only the arm is right. Fractional counts (sums of positive parts of
            differences in [-1, 1]) are taken too, and are conservative: d^2 <= abs(d) there.
        worse: Pairs in which only the reference is right.
        n: All pairs, at least 1.
        alpha: Error rate of each side.
    """
    z = float(ndtri(1 - alpha))
    return Interval(_tango_lower(better, worse, n, z), -_tango_lower(worse, better, n, z))


def _tango_lower(better: float, worse: float, n: int, z: float) -> float:
    from scipy.optimize import brentq  # slow to load, and not always needed

    estimate = (better - worse) / n
    if estimate <= -1:
        return -1.0

    def excess(delta: float) -> float:
        # q: the constrained estimate of P(only the reference is right), the larger root of
        # 2n q^2 + linear q - worse delta (1 - delta) = 0 (Tango's equation for q21).
        linear = (2 * n - better + worse) * delta - better - worse
        root = sqrt(max(linear**2 + 8 * n * worse * delta * (1 - delta), 0.0))
        q = (root - linear) / (4 * n)
        variance = max(n * (2 * q + delta * (1 - delta)), 0.0)
        return better - worse - n * delta - z * sqrt(variance)

    # At the estimate itself the variance can be 0, which would be a root that means nothing.
    return float(brentq(excess, -1.0, estimate - 1e-9, xtol=1e-12))
