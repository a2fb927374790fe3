"""Intervals of a single score and of a difference between paired proportions."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import betainccinv, betaincinv, ndtri, stdtrit

__all__ = ["FEW", "Interval", "clopper_pearson", "mean_interval", "mean_score", "tango"]

# With fewer questions than this off the common value, their spread says too little of the true
# one for an interval built on it; simulated coverage falls below nominal there
# (tests/pipeline/stats/test_stats.py).
FEW = 15

# Times the slope of the variance that the sample shows. A sample with a handful of losing
# questions mostly has a smaller third moment than there is: with 1, a loss of 3 points concentrated
# in few of 198 questions passes in 7.2 % of staged experiments, with 2 in 5.2 %, and an equal arm
# 0.2 to 2 points less often (benchmarks/accuracy_calibration.py).
_SLOPE = 2.0

_Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


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


def clopper_pearson(successes: int, n: int, alpha: float) -> Interval:
    """The exact interval of one proportion: neither bound errs more often than ``alpha``.

    Source: C. J. Clopper and E. S. Pearson, The use of confidence or fiducial limits illustrated in
    the case of the binomial, Biometrika 26 (1934) 404-413. Written with scipy's beta quantiles,
    since statsmodels takes half a second to import; a test compares. Wilson's interval errs up to
    four times as often near 0 and 1 at the small error rates of several checks.

    Args:
        successes: 0 to ``n``.
        n: Questions, at least 1.
        alpha: Error rate of each side.
    """
    lower = float(betaincinv(successes, n - successes + 1, alpha)) if successes else 0.0
    upper = float(betainccinv(successes + 1, n - successes, alpha)) if successes < n else 1.0
    return Interval(lower, upper)


def mean_score(scores: Sequence[float], alpha: float) -> Interval:
    """Interval of a mean of per-question scores in [0, 1]; the question is the unit.

    Scores that are all 0 or 1 get the interval of Clopper and Pearson. Means over repeats get its
    generalization to any scores in [0, 1] by N. Gaffke, Three test statistics for a nonparametric
    one-sided hypothesis on the mean of a nonnegative variable, Math. Methods Statist. 14 (2005)
    451-467: the bound is a quantile of the mean that Dirichlet(1, ..., 1) weights give to the
    scores and one more of 0 (for the lower bound; 1 for the upper), which stands for what was not
    seen. No distribution is known for which it errs more often than asked (M. Phan, P. Thomas and
    E. Learned-Miller, Towards practical mean bounds for small samples, ICML 2021).
    ``benchmarks/accuracy_calibration.py`` holds its levels from 95 to 99.5 %.

    Args:
        scores: One a question, at least one.
        alpha: Error rate of each side.
    """
    values = np.asarray(scores, dtype=float).clip(0, 1)
    if np.all((values == 0) | (values == 1)):
        return clopper_pearson(int(values.sum()), len(values), alpha)
    return Interval(_least_mean(values, alpha), 1 - _least_mean(1 - values, alpha))


def _least_mean(values: _Floats, alpha: float) -> float:
    """Gaffke's lower bound.

    Dirichlet weights are gamma variables over their sum, so the chance that the weighted mean is at
    most L is that of a sum of independent gamma variables times (score - L) being at most 0. It is
    taken by the saddlepoint approximation (O. E. Barndorff-Nielsen, Biometrika 73 (1986) 307-322,
    his r*), which for yes and no is within 0.001 of the beta quantile; each saddlepoint, written as
    -1 / (u + L), belongs to one L.
    """
    from scipy.optimize import brentq  # slow to load, and not always needed

    x, counts = np.unique(np.append(np.round(values, 12), 0.0), return_counts=True)
    error = sqrt(float(counts @ (x - counts @ x / counts.sum()) ** 2))

    def bound(inverse: float) -> float:
        weights = counts / (1 / inverse + x)
        return float(weights @ x / weights.sum())

    def score(inverse: float) -> float:
        """The normal score of the chance at the L of u = 1 / inverse; falls with it."""
        at = bound(inverse)
        shift, point = x - at, -1 / (1 / inverse + at)
        terms = 1 - shift * point
        root = -sqrt(2 * float(counts @ np.log(terms)))
        slope = point * sqrt(float(counts @ (shift / terms) ** 2))
        return root + log(slope / root) / root

    wanted = float(ndtri(alpha))
    # For many scores alike u is error / -wanted; start on either side.
    low, high = -0.02 * wanted / error, -2 * wanted / error
    while score(high) > wanted:
        high *= 2
    return bound(float(brentq(lambda at: score(at) - wanted, low, high, rtol=1e-10)))


def mean_interval(values: _Floats, alpha: float) -> Interval:
    """Score interval of a mean with Student's quantile; unbounded for fewer than two values.

    Student's t interval takes the spread seen as the spread at every mean. Where a few values far
    below the others make the mean, that is too narrow on their side: with one of three broken
    questions in the sample, a t interval vouches for the mean that it saw. As in Wilson's interval
    the spread is therefore that at the bound: it changes with the mean at the rate m3 / s^2, the
    slope of the variance along an exponential tilt of the data (for yes or no that is 1 - 2p,
    Wilson's own slope; B. Efron, Canad. J. Statist. 9 (1981) 139-158), where that widens the bound,
    and twice that rate is taken, since few losing questions understate it. Without skewness both
    bounds are Student's. ``benchmarks/accuracy_calibration.py`` holds the error rates of both.
    """
    n = len(values)
    if n < 2:
        return Interval(float("-inf"), float("inf"))
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    if variance == 0:
        return Interval(mean, mean)
    third = float(((values - mean) ** 3).sum()) * n / ((n - 1) * (n - 2)) if n > 2 else 0.0
    t2 = float(stdtrit(n - 1, 1 - alpha)) ** 2
    down, up = (_SLOPE * max(0.0, sign * third / variance) * t2 / n for sign in (-1, 1))
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
