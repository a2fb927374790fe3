"""What a comparison of launches can show, from how much launches differ by themselves; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from pipeline.stats import decision
from pipeline.stats.launches import LEAST_SPREAD

__all__ = ["launches_for", "ratio_chances", "smallest_ratio", "smallest_sign_flip_p"]

_RUNS = 20_000
_HALVINGS = 12
_MOST_LAUNCHES = 200
# Beyond a factor of four nobody needs statistics.
_LARGEST = 1.4


def ratio_chances(
    launches: int, spread: float, margin: float, alpha: float, *, alarms: int = 1, change: float = 0
) -> tuple[float, float]:
    """Chances that a comparison in blocks passes, and that it is regressed.

    Simulates block differences as normal on the log scale and judges them as
    :func:`pipeline.stats.launch_ratio` and the gate do: paired t, the estimate beyond the margin.

    Args:
        launches: An arm, at least 2.
        spread: Standard deviation of the log difference inside a block.
        margin: The margin as a difference of logarithms.
        alpha: One-sided error rate of a pass.
        alarms: Comparisons that share alpha for alarms.
        change: True change to the worse, as a difference of logarithms.
    """
    rng = np.random.default_rng(1)
    means = rng.normal(0, spread / sqrt(launches), _RUNS) + change
    squares = rng.chisquare(launches - 1, _RUNS) / (launches - 1)
    errors = np.maximum(spread * np.sqrt(squares), LEAST_SPREAD) / sqrt(launches)
    p_worse = stdtr(launches - 1, -means / errors)
    reach = float(stdtrit(launches - 1, 1 - alpha)) * errors
    change_seen = decision.Change(
        gain=-means, lower=-means - reach, upper=-means + reach, p_worse=p_worse
    )
    regressed = np.asarray(decision.is_regressed(change_seen, margin, alpha / alarms))
    passes = ~regressed & np.asarray(decision.excludes(change_seen, margin))
    return float(passes.mean()), float(regressed.mean())


def smallest_ratio(
    chances: Callable[[float], tuple[float, float]], power: float = 0.8
) -> float | None:
    """Smallest change, as a difference of logarithms, that ends as regressed with this chance.

    Args:
        chances: :func:`ratio_chances` of a change.
        power: Wanted chance.

    Returns:
        None where not even a factor of four is found.
    """
    low, high = 0.0, _LARGEST
    if chances(high)[1] < power:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if chances(middle)[1] >= power else (middle, high)
    return high


def launches_for(spread: float, margin: float, alpha: float, power: float = 0.8) -> int | None:
    """Least launches an arm with which an equal arm passes with this chance; None: over 200."""

    def enough(launches: int) -> bool:
        return ratio_chances(launches, spread, margin, alpha)[0] >= power

    if not enough(_MOST_LAUNCHES):
        return None
    return bisect_left(range(2, _MOST_LAUNCHES), True, key=enough) + 2


def smallest_sign_flip_p(launches: int) -> float:
    """The smallest one-sided p that so many blocks can give by their signs alone.

    All 2^n patterns of sign are equally likely without a difference. Student's t gives smaller ones
    only because it trusts that launches differ as a normal distribution says.
    """
    return float(0.5**launches)
