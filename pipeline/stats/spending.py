"""How an error rate is spent over several looks at growing data; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import e, log, sqrt
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

__all__ = ["SPENDING", "Spending", "nominal_levels"]

Spending = Literal["obrien-fleming", "pocock", "linear", "power-1.5", "cubic"]

# Points at which the density of the score is followed between stages, and where it ends, in
# standard deviations. Published bounds are met to three digits (tests/pipeline/test_sequential.py).
_POINTS = 1201
_REACH = 8.0

SPENDING: Mapping[Spending, Callable[[float, float], float]] = {
    # Lan and DeMets (1983), one-sided; their two named functions.
    "obrien-fleming": lambda alpha, t: 2 * float(ndtr(ndtri(alpha / 2) / sqrt(t))),
    "pocock": lambda alpha, t: alpha * log(1 + (e - 1) * t),
    # alpha t^rho: K. Kim and D. L. DeMets, Biometrika 74 (1987) 149-154.
    "linear": lambda alpha, t: alpha * t,
    "power-1.5": lambda alpha, t: alpha * t**1.5,
    "cubic": lambda alpha, t: alpha * t**3,
}
"""Error rate spent until a share ``t`` in (0, 1] of the questions, by name."""


def nominal_levels(shares: Sequence[float], alpha: float, spending: Spending) -> tuple[float, ...]:
    """The one-sided level of each look at which the chance to cross at any of them is alpha.

    Follows the density of the score process that has not crossed yet from look to look, by the
    trapezoid rule (P. Armitage, C. K. McPherson and B. C. Rowe, J. R. Statist. Soc. A 132 (1969)
    235-244). The two sides of a design are independent of each other: neither counts on the other
    to have stopped the trial.

    Args:
        shares: Information at each look, rising, in (0, 1].
        alpha: Error rate over all looks.
        spending: How it is spent.
    """
    spent = [SPENDING[spending](alpha, share) for share in shares]
    bounds = [_normal_bound(spent[0])]
    grid = np.linspace(-_REACH * sqrt(shares[0]), bounds[0] * sqrt(shares[0]), _POINTS)
    density = _density(grid, shares[0])
    for look in range(1, len(shares)):
        step = shares[look] - shares[look - 1]
        weighted = density * _weights(grid)
        bounds.append(_bound(grid, weighted, step, shares[look], spent[look] - spent[look - 1]))
        new = np.linspace(-_REACH * sqrt(shares[look]), bounds[-1] * sqrt(shares[look]), _POINTS)
        density = _density(new[:, None] - grid[None, :], step) @ weighted
        grid = new
    return tuple(float(np.exp(log_ndtr(-bound))) for bound in bounds)


_Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _density(at: _Floats, variance: float) -> _Floats:
    result: _Floats = np.exp(-at * at / (2 * variance)) / sqrt(2 * np.pi * variance)
    return result


def _weights(grid: _Floats) -> _Floats:
    weights = np.full(grid.shape, grid[1] - grid[0])
    weights[[0, -1]] /= 2
    return weights


def _normal_bound(level: float) -> float:
    return -float(ndtri(level))


def _bound(grid: _Floats, weighted: _Floats, step: float, share: float, level: float) -> float:
    """The z at which the density, one step on, has ``level`` beyond it."""
    from scipy.optimize import brentq  # slow to load, and not always needed

    def beyond(bound: float) -> float:
        crossing = ndtr((grid - bound * sqrt(share)) / sqrt(step))
        return float(np.log(max(float(weighted @ crossing), 1e-300)) - log(level))

    return float(brentq(beyond, -_REACH, 3 * _REACH, xtol=1e-9))
