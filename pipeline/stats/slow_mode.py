"""Launches that lie apart from all others: a slow mode of one arm, seen and unseen; pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log, sqrt

import numpy as np

from pipeline.stats.launches import LEAST_SPREAD

__all__ = ["launches_to_meet", "slow_launches", "unseen_mode"]

# Equal arms whose launches are normal and scatter by much more than the margin show such a gap in 4
# to 5 % of experiments of three launches, 1 % of five and 0.3 % of eight; with three, such scatter
# does not pass anyway.
_APART = 3.0


def unseen_mode(share: float, launches: int) -> float:
    """Chance that so many launches meet none of a slow mode that this share of launches has."""
    return float((1 - share) ** launches)


def launches_to_meet(share: float, alpha: float) -> int:
    """Least launches that meet a mode of this share but for a chance of ``alpha``."""
    return ceil(log(alpha) / log(1 - share))


def slow_launches(
    reference: Mapping[int, float], arm: Mapping[int, float], allowed: float
) -> list[int]:
    """Blocks of the arm's worst launches, if they lie apart from every other launch of both arms.

    A mean says little of a mode that one launch in ten has. Seen it is where some launches of the
    arm are worse than all others, the reference's too, by more than ``allowed`` and by more than
    three standard deviations of launches inside the two arms: launches that merely scatter are no
    mode, and one that the reference shows as well is not the arm's.

    Args:
        reference: Logarithms of one value a launch, by block; larger is worse.
        arm: The same for the arm.
        allowed: The margin as a difference of logarithms.

    Returns:
        Blocks in rising order; none where nothing lies apart, or all of the arm does.
    """
    worst_first = sorted(arm, key=lambda block: -arm[block])
    theirs = np.array(list(reference.values()))
    for count in range(1, len(arm)):
        rest = np.array([arm[block] for block in worst_first[count:]])
        gap = arm[worst_first[count - 1]] - max(rest.max(), theirs.max())
        if gap <= allowed:
            continue
        squares = float(((rest - rest.mean()) ** 2).sum() + ((theirs - theirs.mean()) ** 2).sum())
        df = len(rest) + len(theirs) - 2
        spread = max(sqrt(squares / df) if df else 0.0, LEAST_SPREAD)
        if gap > _APART * spread:
            return sorted(worst_first[:count])
    return []
