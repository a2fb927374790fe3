"""Unions and gaps of kernels' times, step by step, without a loop over kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.traces.table import Ints

__all__ = ["Bools", "Floats", "StepClock", "per_step"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_BEFORE_ALL = -1  # times of a StepClock begin at 0


def per_step(step: Ints, values: Ints | Floats, steps: int) -> Floats:
    """Sum of the values of each step, [steps]; sums of nanoseconds are exact below 2**53."""
    sums = np.bincount(step, weights=values, minlength=steps)
    return sums.astype(np.float64, copy=False)


@dataclass(frozen=True, kw_only=True)
class StepClock:
    """One rank's kernels on a clock on which steps follow each other and never overlap.

    So running maxima of ends stay in their step, and one pass serves all steps.

    Attributes:
        start: On the clock; inside a step in rising order, [n].
        end: On the clock, [n].
        heads: First row of each step, [steps]; each has one.
        begins: Where each step begins, [steps].
    """

    start: Ints
    end: Ints
    heads: Ints
    begins: Ints

    @classmethod
    def of(cls, start: Ints, end: Ints, heads: Ints) -> StepClock:
        """Steps one behind the other, each as long as from its first start to its latest end.

        Args:
            start: Nanoseconds, in order of step and then of start, [n].
            end: Nanoseconds, [n].
            heads: First row of each step, [steps].
        """
        first = start[heads]
        lengths = np.maximum.reduceat(end, heads) - first
        begins = np.cumsum(lengths) - lengths
        shift = np.repeat(begins - first, np.diff(heads, append=len(start)))
        return cls(start=start + shift, end=end + shift, heads=heads, begins=begins)

    @cached_property
    def apart(self) -> bool:
        """Whether no kernel begins before the one before it has ended, as on a single stream."""
        return bool(np.all(self.start[1:] >= self.end[:-1]))

    def sums(self, values: Ints) -> Floats:
        """Sum of the rows of each step, [steps]."""
        return np.add.reduceat(values, self.heads).astype(np.float64)

    def cut(self, length: Ints) -> StepClock:
        """The same with every kernel ended, at the latest, ``length`` behind its step's begin."""
        limit = np.repeat(self.begins + length, np.diff(self.heads, append=len(self.start)))
        end = np.maximum(np.minimum(self.end, limit), self.start)
        return StepClock(start=self.start, end=end, heads=self.heads, begins=self.begins)

    def busy(self, chosen: Bools | None = None) -> Floats:
        """Nanoseconds of each step in which at least one of the chosen kernels runs, [steps]."""
        if self.apart:
            took = self.end - self.start
            return self.sums(took if chosen is None else np.where(chosen, took, 0))
        latest = self._latest(chosen)
        new = latest.copy()
        new[1:] -= np.maximum(self.start[1:], latest[:-1])
        new[0] -= self.start[0]
        # A row that is not chosen, or ends before another one, adds nothing.
        return self.sums(np.maximum(new, 0, out=new))

    def gaps_with(self, inner: Bools, outer: Bools, length: Ints) -> Floats:
        """Nanoseconds of each step between outer kernels where an inner one runs, [steps].

        A gap counts whole if an inner kernel touches it: what waits around it is part of it.

        Args:
            inner: Rows of the one kind.
            outer: Rows of the other.
            length: Of each step, [steps]: where a gap behind the last outer kernel ends.
        """
        counts = np.diff(self.heads, append=len(self.start))
        last = self.heads + counts - 1
        of_outer, of_inner = self._latest(outer), self._latest(inner)
        low = np.repeat(self.begins, counts)
        np.maximum(low[1:], of_outer[:-1], out=low[1:])
        rows = np.flatnonzero(outer & (self.start > low))
        # An inner kernel that begins just where the gap ends is not in it.
        first = np.searchsorted(self.start, self.start[rows]) if self._ties() else rows
        touched = rows[(first > 0) & (of_inner[first - 1] > low[rows])]
        gaps = np.zeros(len(self.start), dtype=np.int64)
        gaps[touched] = self.start[touched] - low[touched]
        tail = np.maximum(self.begins, of_outer[last])
        tails = np.where(of_inner[last] > tail, np.maximum(self.begins + length - tail, 0), 0)
        return np.asarray(self.sums(gaps) + tails)

    def _latest(self, chosen: Bools | None) -> Ints:
        end = self.end if chosen is None else np.where(chosen, self.end, _BEFORE_ALL)
        return np.maximum.accumulate(end)

    def _ties(self) -> bool:
        return bool(np.any(self.start[1:] == self.start[:-1]))
