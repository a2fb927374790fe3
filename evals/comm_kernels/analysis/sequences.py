"""Which communication kernels of the ranks are one collective; unequal ranks are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff

import numpy as np

from evals.comm_kernels.traces.table import Ints, KernelTable, RankKernels, TraceError, short_name

__all__ = ["Collectives", "collectives"]

_MOST_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Collectives:
    """Every collective of every step: number i is the same one on all ranks.

    Attributes:
        step: Its step, [n].
        name: Index into ``names``, [n].
        family: Index into FAMILIES, [n].
        numbers: Number of each step, as the table has it, [steps].
        begin: Where each step's collectives begin, [steps + 1].
        start: Nanoseconds, [ranks, n].
        took: Nanoseconds, [ranks, n].
        names: Names without template arguments.
    """

    step: Ints
    name: Ints
    family: Ints
    numbers: Ints
    begin: Ints
    start: Ints
    took: Ints
    names: tuple[str, ...]

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return len(self.took)


@dataclass(frozen=True, kw_only=True)
class _OfRank:
    rows: Ints
    step: Ints
    name: Ints


def collectives(table: KernelTable) -> Collectives:
    """Matches the ranks' communication kernels by their place in the step.

    Kernels of one stream are in order of start; of several streams, stream by stream, since ranks
    need not interleave them alike.

    Raises:
        TraceError: A rank ran other communication in a step, or in another order; the message says
            in which step and which ranks, with a diff.
    """
    index: dict[str, int] = {}
    of_ranks = [_of_rank(rank, index) for rank in table.ranks]
    names = tuple(index)
    first = of_ranks[0]
    for rank, other in zip(table.ranks[1:], of_ranks[1:], strict=True):
        if not (np.array_equal(first.step, other.step) and np.array_equal(first.name, other.name)):
            raise TraceError(_difference(table, names, first, other, rank.rank))
    ranks = list(zip(table.ranks, of_ranks, strict=True))
    leader = table.ranks[0]
    return Collectives(
        step=first.step,
        name=first.name,
        family=leader.families()[leader.name[first.rows]].astype(np.int64),
        numbers=table.numbers,
        begin=np.searchsorted(first.step, np.arange(table.steps + 1)),
        start=np.stack([rank.start[ours.rows] for rank, ours in ranks]),
        took=np.stack([rank.end[ours.rows] - rank.start[ours.rows] for rank, ours in ranks]),
        names=names,
    )


def _of_rank(rank: RankKernels, index: dict[str, int]) -> _OfRank:
    families = rank.families()
    place = np.array(
        [
            index.setdefault(short_name(name), len(index)) if family >= 0 else -1
            for name, family in zip(rank.names, families, strict=True)
        ],
        dtype=np.int64,
    )
    names = place[rank.name]
    rows = np.flatnonzero((names >= 0) & (rank.order >= 0))
    step, name = rank.step[rows], names[rows]
    streams = rank.stream[rows]
    if len(rows) and streams.min() != streams.max():
        by_stream = np.lexsort((rank.start[rows], _stream_places(streams, name, index), step))
        rows, step, name = rows[by_stream], step[by_stream], name[by_stream]
    return _OfRank(rows=rows, step=step, name=name)


def _stream_places(streams: Ints, name: Ints, index: dict[str, int]) -> Ints:
    """Streams in an order that does not rest on their numbers, which differ between processes."""
    texts = list(index)
    found, inverse = np.unique(streams, return_inverse=True)
    keys = []
    for number, stream in enumerate(found):
        mine = name[inverse == number]
        keys.append((-len(mine), sorted({texts[kernel] for kernel in mine.tolist()}), int(stream)))
    place = np.empty(len(found), dtype=np.int64)
    place[sorted(range(len(found)), key=lambda number: keys[number])] = np.arange(len(found))
    return place[inverse]


def _difference(
    table: KernelTable, names: Sequence[str], first: _OfRank, other: _OfRank, rank: int
) -> str:
    for step, number in enumerate(table.numbers.tolist()):
        one, two = (
            [
                names[name]
                for name in side.name[slice(*np.searchsorted(side.step, [step, step + 1]))]
            ]
            for side in (first, other)
        )
        if one == two:
            continue
        at = next(
            (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b),
            min(len(one), len(two)),
        )
        leader = table.ranks[0].rank
        lines = list(unified_diff(one, two, f"rank {leader}", f"rank {rank}", n=2, lineterm=""))
        more = len(lines) - _MOST_LINES
        shown = lines[:_MOST_LINES] + ([f"... and {more} lines more"] if more > 0 else [])
        where = (
            f"step {number}: rank {leader} runs {len(one)} communication kernels and rank {rank} "
            f"runs {len(two)}; the first difference is number {at}: {_at(one, at)} against "
            f"{_at(two, at)}"
        )
        return "\n".join([where, *shown])
    raise AssertionError("sequences that differ nowhere")


def _in_step(side: _OfRank, step: int, names: Sequence[str]) -> list[str]:
    low, high = np.searchsorted(side.step, [step, step + 1])
    return [names[name] for name in side.name[low:high]]


def _at(names: Sequence[str], at: int) -> str:
    return names[at] if at < len(names) else "nothing"
