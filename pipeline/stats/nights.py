"""Is tonight slower or less right than the nights before it? The replicate is the night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

__all__ = [
    "CORRELATIONS",
    "NightDifference",
    "NightSpread",
    "Outlook",
    "forecast",
    "night_bounds",
    "night_difference",
    "night_spread",
    "pin_outlook",
    "typical",
]

_Array = npt.NDArray[np.float64]

CORRELATIONS: _Array = np.arange(9) / 10
"""Correlations of neighbouring nights that are averaged over. With 0.9 a slow drift is hardly told
from noise, and is found too late."""

# A line is fitted to so many nights or more, so that a drift does not count as noise.
_LEAST_FOR_LINE = 6

# What is assumed of the spread until the nights themselves have four degrees of freedom.
_ASSUMED_DF, _ASSUMED_OF_MARGIN, _ASSUMED_IF_PROVISIONAL = 4.0, 1 / 6, 1 / 3

# A night beyond the margin and so many robust standard deviations from the median is no sample of
# how nights differ. 1.4826: median absolute deviation to standard deviation, of a normal.
_OUTLYING, _MAD_TO_SD = 4.0, 1.4826

_HALVINGS = 30


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """Nights that may have gaps, each with the night before it that has a value."""

    values: _Array  # NaN replaced by 0
    known: npt.NDArray[np.bool_]
    before: npt.NDArray[np.int64]  # index of the night before; -1: none
    last: npt.NDArray[np.int64]  # index of the last night; -1: none
    alike: _Array  # correlation with the night before, (..., nights, correlations); 0 without one

    @classmethod
    def of(cls, values: _Array, numbers: npt.NDArray[np.int64]) -> _Chain:
        known = np.isfinite(values)
        latest = np.maximum.accumulate(np.where(known, np.arange(values.shape[-1]), -1), axis=-1)
        before = np.concatenate([np.full_like(latest[..., :1], -1), latest[..., :-1]], axis=-1)
        lag = np.maximum(numbers - numbers[np.maximum(before, 0)], 1)
        alike = np.where((before >= 0)[..., None], CORRELATIONS ** lag[..., None], 0.0)
        return cls(
            values=np.where(known, values, 0.0),
            known=known,
            before=before,
            last=latest[..., -1],
            alike=alike,
        )

    def whiten(self, series: _Array) -> _Array:
        """What each night adds to the one before it, in units of its deviation; 0 for gaps."""
        then = np.take_along_axis(series, np.maximum(self.before, 0), -1)[..., None]
        new = (series[..., None] - self.alike * then) / np.sqrt(1 - self.alike**2)
        whitened: _Array = np.where(self.known[..., None], new, 0.0)
        return whitened

    @property
    def log_determinant(self) -> _Array:
        """Of the correlation matrix."""
        logs = np.where(self.known[..., None], np.log(1 - self.alike**2), 0.0)
        total: _Array = logs.sum(-2)
        return total


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Generalised least squares of one stretch, for each correlation (last axis)."""

    squares: _Array
    df: _Array
    log_determinants: _Array
    nights: npt.NDArray[np.int64]


def _line(values: _Array, numbers: npt.NDArray[np.int64]) -> _Fit:
    """A straight line through six nights or more, a level through fewer."""
    chain = _Chain.of(values, numbers)
    nights = chain.known.sum(-1)
    sloped = (nights >= _LEAST_FOR_LINE)[..., None]
    middle = (chain.known * numbers).sum(-1, keepdims=True) / np.maximum(nights, 1)[..., None]
    time = (numbers - middle) / max(1, values.shape[-1])
    one, slope, value = (
        chain.whiten(series) for series in (chain.known.astype(float), time, chain.values)
    )
    information = np.maximum((one * one).sum(-2), 1e-12)
    level = (one * value).sum(-2) / information
    squares = (value * value).sum(-2) - information * level**2
    shared = (one * slope).sum(-2)
    steepness = np.maximum((slope * slope).sum(-2) - shared**2 / information, 1e-12)
    along = (slope * value).sum(-2) - shared * level
    return _Fit(
        squares=np.maximum(squares - np.where(sloped, along**2 / steepness, 0.0), 0.0),
        df=np.maximum(nights[..., None] - np.where(sloped, 2, 1), 0).astype(float),
        log_determinants=chain.log_determinant
        + np.log(information)
        + np.where(sloped, np.log(steepness), 0.0),
        nights=nights,
    )


@dataclass(frozen=True, kw_only=True)
class NightSpread:
    """How far nights lie apart by themselves, for each of :data:`CORRELATIONS`.

    The last axis of every array is that of the correlations; those before it are of the caller.

    Attributes:
        weights: How well each correlation explains the nights; they add up to 1.
        variances: Variance of one night's value, in the values' unit squared.
        df: Degrees of freedom; infinite nowhere, 0 never.
        nights: Nights that it is taken from; fewer than two show no spread.
    """

    weights: _Array
    variances: _Array
    df: _Array
    nights: npt.NDArray[np.int64]

    @property
    def sd(self) -> _Array:
        """Standard deviation of a night's value, averaged over the correlations."""
        mean: _Array = np.sqrt((self.weights * self.variances).sum(-1))
        return mean

    @property
    def correlation(self) -> _Array:
        """Correlation of neighbouring nights, averaged."""
        mean: _Array = (self.weights * CORRELATIONS).sum(-1)
        return mean


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a baseline lets one expect of tonight, for each of :data:`CORRELATIONS` (last axis).

    Attributes:
        level: The expected value.
        ratio: Variance of tonight's value minus it, over the variance of one night.
    """

    level: _Array
    ratio: _Array


@dataclass(frozen=True, kw_only=True)
class NightDifference:
    """Tonight minus what its baseline lets one expect, in the values' unit.

    Attributes:
        difference: The estimate.
        p_higher: One-sided p-value of "tonight is not higher".
        p_lower: One-sided p-value of "tonight is not lower".
    """

    difference: _Array
    p_higher: _Array
    p_lower: _Array


def typical(values: _Array, margin: float) -> npt.NDArray[np.bool_]:
    """Which nights may say how nights differ; one bogus night must not disarm a gate.

    Left out is what lies more than the margin and more than four robust standard deviations (from
    the median absolute deviation) from the median: F. Hampel, "The Influence Curve and Its Role in
    Robust Estimation", Journal of the American Statistical Association 69 (1974) 383-393.

    Args:
        values: One value a night, shape (..., nights); NaN where a night has none.
        margin: The gate's margin, in the values' unit.
    """
    known = np.isfinite(values)
    if values.shape[-1] == 0:
        return known
    padded = np.where(known.any(-1, keepdims=True), values, 0.0)
    away = np.abs(padded - np.nanmedian(padded, axis=-1, keepdims=True))
    scale = _MAD_TO_SD * np.nanmedian(away, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        near: npt.NDArray[np.bool_] = known & (away <= np.maximum(margin, _OUTLYING * scale))
    return near


def night_spread(
    parts: Sequence[tuple[_Array, npt.NDArray[np.int64]]],
    least: float,
    margin: float,
    *,
    provisional: bool = False,
) -> NightSpread:
    """Variance and correlation of nights, from nights without a deliberate change.

    Nights are taken as a first-order autoregression about a straight line. For each correlation the
    variance is that of generalised least squares; the correlations are weighted by their restricted
    likelihood (D. Harville, Biometrika 61 (1974) 383-385), each as likely as the other before. The
    line is what keeps a drift from counting as noise; with fewer than six nights it is level. What
    is assumed of the standard deviation beforehand, a sixth of the margin, fills up to four degrees
    of freedom: the first nights find what is plain, and from the sixth on nothing is assumed.

    Args:
        parts: Stretches of nights, each with a line of its own: values of shape (..., nights), NaN
            where a night has none, and the nights' running numbers, of shape (nights,).
        least: What the standard deviation is never taken to be below.
        margin: The gate's margin, in the values' unit.
        provisional: Whether the nights begin with a pin of fewer than three: then a third of the
            margin is assumed, since what they begin with may be a lucky night.
    """
    share = _ASSUMED_IF_PROVISIONAL if provisional else _ASSUMED_OF_MARGIN
    fits = [_line(values, numbers) for values, numbers in parts if values.shape[-1]]
    if not fits:
        one = np.ones(len(CORRELATIONS))
        return NightSpread(
            weights=one / one.sum(),
            variances=one * least**2,
            df=one * _ASSUMED_DF,
            nights=np.zeros((), dtype=np.int64),
        )
    nights = sum((fit.nights for fit in fits), start=np.zeros((), dtype=np.int64))
    own = sum((fit.df for fit in fits), start=np.zeros(()))
    df = np.maximum(own, _ASSUMED_DF)
    squares = (df - own) * (share * margin) ** 2 + sum(fit.squares for fit in fits)
    variances = np.maximum(squares / df, least**2)
    logs = -0.5 * sum(fit.log_determinants for fit in fits) - 0.5 * df * np.log(variances)
    weights = np.exp(logs - logs.max(-1, keepdims=True))
    return NightSpread(
        weights=weights / weights.sum(-1, keepdims=True),
        variances=variances,
        df=np.broadcast_to(df, variances.shape),
        nights=nights,
    )


def forecast(values: _Array, numbers: npt.NDArray[np.int64], tonight: int) -> Outlook:
    """What the last nights lead one to expect: their mean, drawn to the latest as they are alike.

    The best linear unbiased prediction of a first-order autoregression (A. Goldberger, Journal of
    the American Statistical Association 57 (1962) 369-375); without correlation it is the mean of k
    nights, with the variance ratio 1 + 1/k.

    Args:
        values: The baseline's, shape (..., nights), by time; NaN where a night has none.
        numbers: Running numbers of the nights, shape (nights,).
        tonight: Tonight's running number.
    """
    chain = _Chain.of(values, numbers)
    one, value = chain.whiten(np.isfinite(values).astype(float)), chain.whiten(chain.values)
    information = (one * one).sum(-2)
    level = (one * value).sum(-2) / information
    last = np.maximum(chain.last, 0)[..., None]
    latest = np.take_along_axis(chain.values, last, -1)
    lag = tonight - np.take_along_axis(np.broadcast_to(numbers, values.shape), last, -1)
    alike = CORRELATIONS ** np.maximum(lag, 1)
    return Outlook(
        level=level + alike * (latest - level),
        ratio=1 - alike**2 + (1 - alike) ** 2 / information,
    )


def pin_outlook(
    values: _Array, numbers: npt.NDArray[np.int64], tonight: int, *, chosen: bool = False
) -> Outlook:
    """The mean of the pinned nights, and how far one night lies from it.

    Args:
        values: The pin's, shape (..., nights); NaN where a night has none.
        numbers: Running numbers of the nights, shape (nights,).
        tonight: Tonight's running number.
        chosen: Count the noise of one night more: whoever pins may have chosen a lucky night. The
            best of nine lies 1.49 standard deviations from their mean, and 2.58 sqrt(3) is what it
            takes for one night in 200 to lie that far above it.
    """
    known = np.isfinite(values)
    shares = known / known.sum(-1, keepdims=True)
    apart = np.abs(numbers[:, None] - numbers[None, :])
    among = CORRELATIONS ** apart[..., None]  # (nights, nights, correlations)
    ahead = CORRELATIONS ** np.maximum(tonight - numbers, 1)[:, None]
    own = np.einsum("...i,ijc,...j->...c", shares, among, shares)
    ratio = 1 + own - 2 * np.einsum("...i,ic->...c", shares, ahead) + float(chosen)
    level = (shares * np.where(known, values, 0.0)).sum(-1, keepdims=True)
    return Outlook(level=np.broadcast_to(level, ratio.shape), ratio=ratio)


def night_difference(tonight: _Array, outlook: Outlook, spread: NightSpread) -> NightDifference:
    """Hold one night against what its baseline lets one expect, by Student's t.

    P-values are of the mixture of the correlations, with the spread's weights.

    Args:
        tonight: Tonight's value, shape (...).
        outlook: The baseline's.
        spread: How far nights lie apart.
    """
    errors = np.sqrt(spread.variances * outlook.ratio)
    away = (np.asarray(tonight)[..., None] - outlook.level) / errors
    return NightDifference(
        difference=tonight - (spread.weights * outlook.level).sum(-1),
        p_higher=(spread.weights * stdtr(spread.df, -away)).sum(-1),
        p_lower=(spread.weights * stdtr(spread.df, away)).sum(-1),
    )


def night_bounds(
    tonight: _Array, outlook: Outlook, spread: NightSpread, alpha: float
) -> tuple[_Array, _Array]:
    """Lower and upper bound of :func:`night_difference`, each with the error rate alpha."""
    errors = np.sqrt(spread.variances * outlook.ratio)
    high, low = (_quantile(outlook.level, errors, spread, share) for share in (1 - alpha, alpha))
    return tonight - high, tonight - low


def _quantile(level: _Array, errors: _Array, spread: NightSpread, share: float) -> _Array:
    """Of the mixture, by bisection between the least and the largest quantile of its parts."""
    each = level + stdtrit(spread.df, share) * errors
    low, high = each.min(-1), each.max(-1)
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        below = stdtr(spread.df, (half[..., None] - level) / errors)
        less = (spread.weights * below).sum(-1) < share
        low, high = np.where(less, half, low), np.where(less, high, half)
    middle: _Array = (low + high) / 2
    return middle
