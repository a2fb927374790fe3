"""A hierarchical bootstrap of the ratio of launches: a second opinion on Student's t; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    same = reference.keys() == arm.keys()
    sides = [list(reference.values()), [arm[b] for b in reference] if same else [*arm.values()]]
    runs = [tuple(len(launch) for launch in side) for side in sides]
    means = [
        _means(side, drawn)
        for side, drawn in zip(sides, _drawn(runs[0], runs[1], draws, as_blocks=same), strict=True)
    ]
    low, high = np.quantile(means[1] - means[0], [alpha, 1 - alpha])
    return Interval(float(np.exp(low)), float(np.exp(high)))


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """What a bootstrap draws of one side.

    Attributes:
        shape: Draws, launches.
        groups: By number of runs a launch: where its launches were picked, in a flat array of that
            shape, and the runs drawn there, as indices into all runs of the side.
    """

    shape: tuple[int, int]
    groups: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


@lru_cache(maxsize=4)
def _drawn(
    reference: tuple[int, ...], arm: tuple[int, ...], draws: int, *, as_blocks: bool
) -> tuple[_Drawn, _Drawn]:
    """The draws of both sides: the same for all comparisons with as many launches and runs.

    Args:
        reference: Runs of each launch.
        arm: The same of the arm.
        draws: Bootstrap samples.
        as_blocks: Whether both sides' launches are drawn together.
    """
    random = np.random.RandomState(_SEED)
    size = (draws, len(reference))
    picks = random.randint(len(reference), size=size)
    first = _of_side(random, reference, picks)
    if not as_blocks:
        picks = random.randint(len(arm), size=(draws, len(arm)))
    return first, _of_side(random, arm, picks)


def _of_side(
    random: np.random.RandomState, runs: tuple[int, ...], picks: NDArray[np.int_]
) -> _Drawn:
    # Where each launch was picked, launch by launch, found by one sort.
    places = np.argsort(picks, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(picks.ravel(), minlength=len(runs)))[:-1]
    groups: dict[int, list[tuple[NDArray[np.intp], NDArray[np.intp]]]] = defaultdict(list)
    before = 0
    for at, count in zip(np.split(places, ends), runs, strict=True):
        groups[count].append((at, before + random.randint(count, size=(at.size, count))))
        before += count
    joined = [
        (np.concatenate([at for at, _ in group]), np.concatenate([drawn for _, drawn in group]))
        for group in groups.values()
    ]
    return _Drawn(shape=(picks.shape[0], picks.shape[1]), groups=joined)


def _means(launches: Sequence[Sequence[float]], drawn: _Drawn) -> _Logs:
    """Mean log of the picked launches, each the median of its drawn runs; one for each draw."""
    values = np.array([run for runs in launches for run in runs], dtype=np.float64)
    logs = np.empty(drawn.shape[0] * drawn.shape[1])
    for at, runs in drawn.groups:
        logs[at] = np.log(np.median(values[runs], axis=1))
    means: _Logs = logs.reshape(drawn.shape).mean(axis=1)
    return means
