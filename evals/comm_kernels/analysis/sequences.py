"""Which communication kernels of the ranks are one collective; unequal ranks are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff

import numpy as np

from evals.comm_kernels.analysis.interleaved import Side, interleaved, one_by_one
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
        ambiguous: Which kernels of the ranks cannot be told to be one collective; "" where all can.
    """

    step: Ints
    name: Ints
    family: Ints
    numbers: Ints
    begin: Ints
    start: Ints
    took: Ints
    names: tuple[str, ...]
    ambiguous: str = ""

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return len(self.took)


@dataclass(frozen=True, kw_only=True)
class _OfRank:
    """One rank's communication kernels in order of step and start; all arrays are [n]."""

    rows: Ints
    step: Ints
    name: Ints
    stream: Ints
    start: Ints
    end: Ints

    def ordered(self, rows: Ints) -> _OfRank:
        return _OfRank(
            rows=self.rows[rows],
            step=self.step[rows],
            name=self.name[rows],
            stream=self.stream[rows],
            start=self.start[rows],
            end=self.end[rows],
        )


def collectives(table: KernelTable) -> Collectives:
    """Matches the ranks' communication kernels by their order of start in the step.

    A rank's own clock orders its kernels, over all its streams: under a CUDA graph each may run on
    a stream of its own, and numbers of streams say nothing. Where several communicators run beside
    each other, ranks may interleave them otherwise, and kernels are matched within each
    (:mod:`evals.comm_kernels.analysis.interleaved`).

    Raises:
        TraceError: A rank ran other communication in a step; the message says in which step and
            which ranks, with a diff.
    """
    index: dict[str, int] = {}
    of_ranks = [_of_rank(rank, index) for rank in table.ranks]
    names = tuple(index)
    first = of_ranks[0]
    in_turn = all(
        np.array_equal(first.step, other.step) and np.array_equal(first.name, other.name)
        for other in of_ranks[1:]
    )
    ambiguous = ""
    if len(of_ranks) > 1 and not (in_turn and all(one_by_one(*_times(o)) for o in of_ranks)):
        of_ranks, ambiguous = _within(table, names, of_ranks)
    ranks = list(zip(table.ranks, of_ranks, strict=True))
    leader = table.ranks[0]
    return Collectives(
        step=first.step,
        name=first.name,
        family=leader.families()[leader.name[first.rows]].astype(np.int64),
        numbers=table.numbers,
        begin=np.searchsorted(first.step, np.arange(table.steps + 1)),
        start=np.stack([ours.start for _, ours in ranks]),
        took=np.stack([rank.end[ours.rows] - rank.start[ours.rows] for rank, ours in ranks]),
        names=names,
        ambiguous=ambiguous,
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
    return _OfRank(
        rows=rows,
        step=rank.step[rows],
        name=names[rows],
        stream=rank.stream[rows],
        start=rank.start[rows],
        end=rank.end[rows],
    )


def _times(side: _OfRank) -> tuple[Ints, Ints, Ints]:
    return side.stream, side.start, side.end


def _within(
    table: KernelTable, names: Sequence[str], of_ranks: Sequence[_OfRank]
) -> tuple[list[_OfRank], str]:
    """The ranks' kernels matched step by step, and what could not be; "" where all could.

    Raises:
        TraceError: A rank ran other communication.
    """
    first = of_ranks[0]
    steps = np.arange(table.steps + 1)
    limits = [np.searchsorted(side.step, steps) for side in of_ranks]
    orders: list[list[Ints]] = [[] for _ in of_ranks]
    ambiguous = ""
    for step, number in enumerate(table.numbers.tolist()):
        parts = [slice(int(low[step]), int(low[step + 1])) for low in limits]
        sides = [
            Side(side.name[part], side.stream[part], side.start[part], side.end[part])
            for side, part in zip(of_ranks, parts, strict=True)
        ]
        for rank, other in zip(table.ranks[1:], sides[1:], strict=True):
            if sorted(other.name.tolist()) != sorted(sides[0].name.tolist()):
                side = of_ranks[table.ranks.index(rank)]
                raise TraceError(_difference(table, names, first, side, rank.rank))
        places, unclear = interleaved(sides)
        if unclear is not None and not ambiguous:
            where, name = table.ranks[unclear.rank].rank, names[unclear.name]
            ambiguous = (
                f"step {number}: on rank {where} several kernels of {name} run at once or in an "
                "order of its own, so that those of one collective cannot be told from another's"
            )
        for order, part, place in zip(orders, parts, places, strict=True):
            order.append(place + part.start)
    return [
        side.ordered(np.concatenate(order)) for side, order in zip(of_ranks, orders, strict=True)
    ], ambiguous


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


def _at(names: Sequence[str], at: int) -> str:
    return names[at] if at < len(names) else "nothing"
