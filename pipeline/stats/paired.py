"""How much better or worse an arm scores than the reference on the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from scipy.special import bdtrc, ndtri, stdtr

from pipeline.stats.proportions import FEW, Interval, mean_interval, tango

__all__ = ["PairedDifference", "difference_of", "paired_difference", "questions_needed"]

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

# Up to this many questions that differ, all 2^n sign patterns are counted out.
_ENUMERABLE = 16


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Arm minus reference over the same questions.

    Attributes:
        n: Questions.
        difference: Mean over questions of the arm's mean minus the reference's, in [-1, 1].
        interval: Its bounds, each with the asked error rate.
        p_lower: One-sided p-value of "the arm is not lower"; small: it is lower.
        p_higher: One-sided p-value of "the arm is not higher".
        higher: Questions on which the arm's mean is higher.
        lower: Questions on which the arm's mean is lower.
        method: Which interval and which test were used.
    """

    n: int
    difference: float
    interval: Interval
    p_lower: float
    p_higher: float
    higher: int
    lower: int
    method: str


def paired_difference(
    reference: Mapping[str, float], arm: Mapping[str, float], alpha: float
) -> PairedDifference:
    """Compare per-question means; the question is the unit, its repeats are a cluster.

    Where every difference is -1, 0 or 1 (one repeat, or repeats that agree): Tango's score interval
    and the exact one-sided McNemar test (the sign test on the discordant pairs; Q. McNemar,
    Psychometrika 12 (1947) 153-157). Else the question-clustered error of the differences (Miller,
    arXiv 2411.00640, section on paired differences) in :func:`mean_interval`, which is Student's
    but for skewness, and where fewer than ``FEW`` questions differ its hull with Tango's interval
    on the summed positive and negative parts, an upper bound on the variance; the test is then an
    exact sign-flip permutation (few) or the paired t (many).

    Args:
        reference: Mean in [0, 1] by question id.
        arm: The same ids.
        alpha: Error rate of each side of the interval.

    Raises:
        ValueError: The ids differ, or there are none.
    """
    if not reference or reference.keys() != arm.keys():
        raise ValueError("both arms need the same questions, at least one")
    return difference_of(
        np.array([arm[key] - reference[key] for key in sorted(reference)], dtype=float), alpha
    )


def difference_of(differences: Floats, alpha: float) -> PairedDifference:
    """:func:`paired_difference` of differences that were already taken, one a question.

    Args:
        differences: Arm minus reference, each in [-1, 1]; at least one.
        alpha: Error rate of each side of the interval.
    """
    d = differences.copy()
    d[np.abs(d) < 1e-12] = 0.0  # means of equal fractions may differ in the last bit
    ups, downs = d[d > 0], -d[d < 0]
    differing = len(ups) + len(downs)
    if np.all((d == 0) | (np.abs(d) == 1)):
        interval = tango(len(ups), len(downs), len(d), alpha)
        method = "Tango score interval, exact McNemar test"
        p_lower, p_higher = _sign_test(len(downs), differing), _sign_test(len(ups), differing)
    else:
        interval, method = mean_interval(d, alpha), "score interval over questions"
        if differing < FEW:
            interval = interval.hull(tango(float(ups.sum()), float(downs.sum()), len(d), alpha))
            method = f"{method}, widened by Tango's"
        p_lower, p_higher, test = _mean_tests(d)
        method = f"{method}, {test}"
    return PairedDifference(
        n=len(d),
        difference=float(d.mean()),
        interval=interval.clip(-1, 1),
        p_lower=p_lower,
        p_higher=p_higher,
        higher=len(ups),
        lower=len(downs),
        method=method,
    )


def _sign_test(count: int, differing: int) -> float:
    """P(X >= count) of a fair coin thrown ``differing`` times."""
    return float(bdtrc(count - 1, differing, 0.5)) if count else 1.0


def _mean_tests(d: Floats) -> tuple[float, float, str]:
    nonzero = d[d != 0]
    if len(nonzero) > _ENUMERABLE:
        t = float(d.mean()) / (float(d.std(ddof=1)) / sqrt(len(d)))
        df = len(d) - 1
        return float(stdtr(df, t)), float(stdtr(df, -t)), "paired t test"
    sums = np.zeros(1)
    for size in np.abs(nonzero):
        sums = np.concatenate([sums - size, sums + size])
    total = float(nonzero.sum())
    tolerance = 1e-9  # sums of the same parts in another order are ties
    lower = float(np.mean(sums <= total + tolerance))
    higher = float(np.mean(sums >= total - tolerance))
    return lower, higher, "exact sign-flip test"


def questions_needed(n: int, half_width: float, margin: float, alpha: float, power: float) -> int:
    """About how many questions would show an equal arm to be within the margin.

    From the half width that ``n`` questions gave, which shrinks with 1/sqrt(n): the power
    formula of Miller, arXiv 2411.00640, with a true difference of zero.

    Args:
        n: Questions so far.
        half_width: From the estimate to the bound on the harmful side.
        margin: The gate's margin, a fraction.
        alpha: Error rate of that bound.
        power: Wanted chance that an arm without any difference passes.
    """
    z_alpha = float(ndtri(1 - alpha))
    factor = (z_alpha + float(ndtri(power))) / z_alpha
    return ceil(n * (factor * half_width / margin) ** 2)
