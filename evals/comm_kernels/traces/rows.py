"""From the bare rows of a trace to one rank's steps; what both readers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.traces.table import Ints, Origin, RankKernels

__all__ = ["NONE", "BareRows", "stepped"]

NONE = -1
"""The replay of a kernel that is part of none."""


@dataclass(frozen=True, kw_only=True)
class BareRows:
    """Kernels of one rank as a reader finds them, in any order; all arrays are [n].

    Attributes:
        start: Nanoseconds.
        end: Nanoseconds.
        stream: Stream or thread.
        name: Index into ``names``.
        replay: What the kernels of one step share (a correlation, the number of a span), or NONE.
        names: Names as the profiler has them.
    """

    start: Ints
    end: Ints
    stream: Ints
    name: Ints
    replay: Ints
    names: tuple[str, ...]


def stepped(rows: BareRows, origin: Origin, signatures: Sequence[int] | None = None) -> RankKernels:
    """One rank's steps in order of their first kernel; kernels before the first are left out.

    Args:
        rows: All kernels of the rank.
        origin: Where they are from.
        signatures: By replay, where replays are numbered from 0; None: the number of kernels.
    """
    columns = {"start": rows.start, "end": rows.end, "stream": rows.stream, "name": rows.name}
    replay = rows.replay
    if np.any(rows.start[1:] < rows.start[:-1]):
        by_start = np.argsort(rows.start, kind="stable")
        columns = {key: values[by_start] for key, values in columns.items()}
        replay = replay[by_start]
    inside = replay != NONE
    alone = bool(inside.all())
    step_inside, order_of_keys = _numbered(replay if alone else replay[inside])
    steps = len(order_of_keys)
    start_inside = columns["start"] if alone else columns["start"][inside]
    heads = np.flatnonzero(np.diff(step_inside, prepend=-1) > 0) if steps else np.empty(0, int)
    # Replays of two steps may interleave by a kernel or two; a step's number then falls back.
    fallen = bool(np.any(step_inside[1:] < step_inside[:-1]))
    if fallen:
        _, heads = np.unique(step_inside, return_index=True)
    begins = start_inside[heads]
    step = step_inside
    if not alone:
        step = np.searchsorted(begins, columns["start"], side="right") - 1
        step[inside] = step_inside
    if fallen or np.any(step[1:] < step[:-1]):
        by_step = np.argsort(step, kind="stable")
        columns = {key: values[by_step] for key, values in columns.items()}
        step, inside = step[by_step], inside[by_step]
    if len(step) and step[0] < 0:
        low = int(np.searchsorted(step, 0))
        columns = {key: values[low:] for key, values in columns.items()}
        step, inside = step[low:], inside[low:]
    order, counts = _ordered(step, inside, steps, alone=alone)
    ends = _last_ends(columns["end"], step, inside, steps, alone=alone)
    period = np.full(steps, -1, dtype=np.int64)
    period[:-1] = np.diff(begins)
    signature = counts if signatures is None else np.asarray(signatures)[order_of_keys]
    return RankKernels(
        origin=origin,
        names=rows.names,
        step=step,
        order=order,
        begins=begins,
        ends=ends,
        period=period,
        signature=signature,
        by_batch=signatures is not None,
        **columns,
    )


def _numbered(replay: Ints) -> tuple[Ints, Ints]:
    """The step of each row, numbered as they appear, and the replay of each step."""
    if not len(replay):
        return replay, replay
    changes = np.empty(len(replay), dtype=bool)
    changes[0] = True
    np.not_equal(replay[1:], replay[:-1], out=changes[1:])
    heads = replay[changes]
    run = np.cumsum(changes) - 1
    keys, first, inverse = np.unique(heads, return_index=True, return_inverse=True)
    if len(keys) == len(heads):
        return run, heads
    by_appearance = np.argsort(first)
    number = np.empty(len(keys), dtype=np.int64)
    number[by_appearance] = np.arange(len(keys))
    return number[inverse][run], keys[by_appearance]


def _ordered(
    step: Ints, inside: npt.NDArray[np.bool_], steps: int, *, alone: bool
) -> tuple[Ints, Ints]:
    """Place of each row inside its step (-1 beside it), and rows inside each step."""
    if alone:
        counts = np.bincount(step, minlength=steps)
        before = np.cumsum(counts) - counts
        return np.arange(len(step)) - np.repeat(before, counts), counts
    counts = np.bincount(step[inside], minlength=steps)
    before = np.cumsum(counts) - counts
    running = np.cumsum(inside) - 1 - before[step]
    return np.where(inside, running, -1), counts


def _last_ends(
    end: Ints,
    step: Ints,
    inside: npt.NDArray[np.bool_],
    steps: int,
    *,
    alone: bool,
) -> Ints:
    if not steps:
        return np.empty(0, dtype=np.int64)
    ours = end if alone else end[inside]
    of_step = step if alone else step[inside]
    heads = np.searchsorted(of_step, np.arange(steps))
    return np.maximum.reduceat(ours, heads)
