"""Unions and gaps of kernels' times, step by step, without a loop over kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.table import Ints

__all__ = ["Clock", "Floats", "gaps_with", "per_step", "union"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock on which steps never overlap, so that running maxima of ends stay in their step.

    Attributes:
        begins: Where each step begins on it, [steps].
        shift: What to add to a time of each step, [steps].
    """

    begins: Ints
    shift: Ints

    @classmethod
    def of(cls, begins: Ints, ends: Ints) -> Clock:
        """Steps one behind the other, each as long as from its begin to its latest end.

        Args:
            begins: Earliest start in each step, [steps].
            ends: Latest end in each step, [steps].
        """
        lengths = ends - begins
        places = np.cumsum(lengths) - lengths
        return cls(begins=places, shift=places - begins)


def per_step(step: Ints, values: Ints | Floats, steps: int) -> Floats:
    """Sum of the values of each step, [steps]; sums of nanoseconds are exact below 2**53."""
    sums = np.bincount(step, weights=values, minlength=steps)
    return sums.astype(np.float64, copy=False)


def union(start: Ints, end: Ints, step: Ints, steps: int) -> Floats:
    """Nanoseconds of each step in which at least one of the kernels runs, [steps].

    Args:
        start: On a :class:`Clock`, in rising order, [n].
        end: Likewise, [n].
        step: Step of each, [n].
        steps: Number of steps.
    """
    if not len(start):
        return np.zeros(steps)
    latest = np.maximum.accumulate(end)
    new = latest.copy()
    new[1:] -= np.maximum(start[1:], latest[:-1])
    new[0] -= start[0]
    return per_step(step, new, steps)


def gaps_with(
    inner: tuple[Ints, Ints], outer: tuple[Ints, Ints], bounds: tuple[Ints, Ints]
) -> Floats:
    """Nanoseconds of each step that lie between outer kernels where an inner one runs, [steps].

    A gap counts whole if an inner kernel touches it: what waits around it is part of it. Before the
    first and behind the last outer kernel, the step's bounds end the gap.

    Args:
        inner: Starts and ends on a :class:`Clock`, in order of start.
        outer: Likewise.
        bounds: Begin and end of each step on the clock, [steps] each.
    """
    begins, ends = bounds
    # Each step's bounds are kernels of no length, so that every gap lies inside one step.
    starts = np.concatenate([outer[0], begins, ends])
    stops = np.concatenate([outer[1], begins, ends])
    order = np.argsort(starts, kind="stable")
    starts, latest = starts[order], np.maximum.accumulate(stops[order])
    low, high = latest[:-1], starts[1:]
    real = high > low
    low, high = low[real], high[real]
    if not len(low) or not len(inner[0]):
        return np.zeros(len(begins))
    first = np.searchsorted(high, inner[0], side="right")
    last = np.searchsorted(low, inner[1], side="left")
    touched = np.zeros(len(low) + 1, dtype=np.int64)
    some = last > first
    np.add.at(touched, first[some], 1)
    np.add.at(touched, last[some], -1)
    hit = np.cumsum(touched)[:-1] > 0
    of_step = np.searchsorted(begins, low[hit], side="right") - 1
    return per_step(of_step, (high - low)[hit], len(begins))
