"""Which kernels of the ranks are one collective where communicators run beside each other; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evals.comm_kernels.traces.table import Ints

__all__ = ["Side", "Unclear", "interleaved", "one_by_one"]

# A communicator of an engine has a stream; a replay that gives each kernel one has many.
_MOST_LANES = 8


class Side(NamedTuple):
    """One rank's communication kernels of a step in order of start; all arrays are [n]."""

    name: Ints
    stream: Ints
    start: Ints
    end: Ints


class Unclear(NamedTuple):
    """A place among the sides, and the name of kernels that cannot be told apart there."""

    rank: int
    name: int


def one_by_one(stream: Ints, start: Ints, end: Ints) -> bool:
    """Whether the order of start is the order of communication: one stream, or no two at once.

    With a few streams each may be a communicator of its own, even where none happens to overlap.
    """
    if not len(stream) or stream.min() == stream.max():
        return True
    if len(np.unique(stream)) <= _MOST_LANES:
        return False
    return bool(np.all(start[1:] >= np.maximum.accumulate(end)[:-1]))


def interleaved(sides: Sequence[Side]) -> tuple[list[Ints], Unclear | None]:
    """For each rank the places of its kernels in the order of the first rank's, kernel by kernel.

    In this order: streams, where each rank has a few and no two of a rank run the same sequence;
    the order of start, where no kernels run at once; else the order of start among the kernels of
    one name, as long as none of those run at once.

    Args:
        sides: All ranks; each has the same kernels, but maybe in another order.

    Returns:
        The places, and where kernels of one name could not be told apart.
    """
    lanes = [_lanes(side) for side in sides]
    if all(lane is not None for lane in lanes):
        places = _by_lane([lane for lane in lanes if lane is not None])
        if places is not None:
            return places, None
    count = len(sides[0].name)
    same = all(np.array_equal(side.name, sides[0].name) for side in sides)
    if same and not any(_at_once(side, np.arange(count)) for side in sides):
        return [np.arange(count) for _ in sides], None
    unclear: Unclear | None = None
    by_name = np.argsort(sides[0].name, kind="stable")
    back = np.argsort(by_name, kind="stable")
    places = []
    for rank, side in enumerate(sides):
        places.append(np.argsort(side.name, kind="stable")[back])
        for name, times in Counter(side.name.tolist()).items():
            mine = np.flatnonzero(side.name == name)
            if times > 1 and unclear is None and _at_once(side, mine):
                unclear = Unclear(rank, int(name))
    return places, unclear


_Lanes = dict[tuple[int, ...], Ints]


def _lanes(side: Side) -> _Lanes | None:
    """Places of each stream's kernels by their sequence; None where streams are no lanes."""
    streams = np.unique(side.stream)
    if not 1 < len(streams) <= _MOST_LANES:
        return None
    lanes = [np.flatnonzero(side.stream == stream) for stream in streams]
    found = {tuple(side.name[lane].tolist()): lane for lane in lanes}
    return found if len(found) == len(lanes) else None


def _by_lane(lanes: Sequence[_Lanes]) -> list[Ints] | None:
    first = lanes[0]
    if any(other.keys() != first.keys() for other in lanes[1:]):
        return None
    order = np.argsort(np.concatenate([first[key] for key in first]), kind="stable")
    return [np.concatenate([other[key] for key in first])[order] for other in lanes]


def _at_once(side: Side, rows: Ints) -> bool:
    """Whether two of these kernels run at once on different streams."""
    start, end, stream = side.start[rows], side.end[rows], side.stream[rows]
    if not len(rows) or stream.min() == stream.max():
        return False
    return bool(np.any(start[1:] < np.maximum.accumulate(end)[:-1]))
