"""A hierarchical bootstrap of the ratio of launches: a second opinion on Student's t; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.stats.proportions import Interval

__all__ = ["hierarchical_ratio"]

_DRAWS = 2000

# numpy keeps the stream of RandomState the same for ever (NEP 19), and that of Generator not: a
# report that is made again elsewhere must be the same to the byte.
_SEED = 20261124

_Logs = NDArray[np.float64]


def hierarchical_ratio(
    reference: Mapping[int, Sequence[float]],
    arm: Mapping[int, Sequence[float]],
    alpha: float,
    *,
    draws: int = _DRAWS,
) -> Interval | None:
    """Percentile interval of the ratio of geometric means, arm over reference.

    Launches are drawn with replacement, and inside each of them its runs; a launch's value is the
    median of its drawn runs. With the same blocks on both sides a block is drawn as a whole. Levels
    as in T. Kalibera and R. Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013. With few
    launches it is too narrow: of n values drawn with replacement the spread is that of the sample,
    (n - 1) / n of the variance, and its quantiles are the normal's, not Student's. It is shown
    beside the t interval and decides nothing.

    Args:
        reference: The positive values of each launch's runs, by block.
        arm: The same for the arm.
        alpha: Error rate of each side.
        draws: Bootstrap samples.

    Returns:
        None where a side has fewer than two launches.

    Raises:
        ValueError: A launch has no run, or a value is not positive.
    """
    for side in (reference, arm):
        if any(not runs or min(runs) <= 0 for runs in side.values()):
            raise ValueError("a bootstrap needs at least one run a launch, and positive values")
    if min(len(reference), len(arm)) < 2:
        return None
    random = np.random.RandomState(_SEED)
    if reference.keys() == arm.keys():
        picks = random.randint(len(reference), size=(draws, len(reference)))
        order = list(reference)
        sides = [
            _means(random, [side[block] for block in order], picks) for side in (reference, arm)
        ]
    else:
        sides = [
            _means(random, list(side.values()), random.randint(len(side), size=(draws, len(side))))
            for side in (reference, arm)
        ]
    low, high = np.quantile(sides[1] - sides[0], [alpha, 1 - alpha])
    return Interval(float(np.exp(low)), float(np.exp(high)))


def _means(
    random: np.random.RandomState, launches: Sequence[Sequence[float]], picks: NDArray[np.int_]
) -> _Logs:
    """Mean log of the picked launches, each with its runs drawn anew; one for each row of picks."""
    drawn = np.empty(picks.shape)
    for number, runs in enumerate(launches):
        at = picks == number
        values = np.asarray(runs, dtype=np.float64)
        chosen = random.randint(values.size, size=(int(at.sum()), values.size))
        drawn[at] = np.log(np.median(values[chosen], axis=1))
    means: _Logs = drawn.mean(axis=1)
    return means
