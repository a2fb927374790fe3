"""From the bare rows of a trace to one rank's steps; what both readers share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.families import family_of
from evals.comm_kernels.traces.cycles import Replays, cycles
from evals.comm_kernels.traces.spans import Span, SpanSteps, steps_of
from evals.comm_kernels.traces.table import Ints, Origin, RankKernels, TraceError, short_name

__all__ = ["NONE", "BareRows", "stepped"]

NONE = -1
"""The replay of a kernel that is part of none; the launch of one that nobody saw."""

Bools = npt.NDArray[np.bool_]

# Attention as engines name its kernels: FlashInfer's and FlashAttention's, vLLM's, SGLang's Triton.
_ATTENTION = re.compile(
    r"attention|attn|fmha|flash_?fwd|PagedKVCache|\bmla_|_fwd_(?:grouped_)?kernel", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class BareRows:
    """Kernels of one rank as a reader finds them, in any order; all arrays are [n].

    Attributes:
        start: Nanoseconds.
        end: Nanoseconds.
        stream: Stream or thread.
        name: Index into ``names``.
        replay: What the kernels of one replay of a CUDA graph share (a correlation), or NONE.
        names: Names as the profiler has them.
        launched: When the host launched each, in nanoseconds of the host's clock, or NONE.
    """

    start: Ints
    end: Ints
    stream: Ints
    name: Ints
    replay: Ints
    names: tuple[str, ...]
    launched: Ints | None = None

    @cached_property
    def graphs(self) -> Bools:
        """Which rows are of a replay."""
        return np.asarray(self.replay != NONE)

    @cached_property
    def communicates(self) -> Bools:
        """Which rows are communication."""
        of_name = np.array([family_of(name) is not None for name in self.names], dtype=bool)
        return of_name[self.name] if len(of_name) else np.zeros(len(self.name), dtype=bool)

    def sorted(self) -> BareRows:
        """The same in order of start."""
        if not np.any(self.start[1:] < self.start[:-1]):
            return self
        return self.taken(np.argsort(self.start, kind="stable"))

    def taken(self, rows: Ints | slice) -> BareRows:
        """These rows only, in this order."""
        return replace(
            self,
            start=self.start[rows],
            end=self.end[rows],
            stream=self.stream[rows],
            name=self.name[rows],
            replay=self.replay[rows],
            launched=None if self.launched is None else self.launched[rows],
        )


def stepped(rows: BareRows, origin: Origin, spans: Sequence[Span] = ()) -> RankKernels:
    """One rank's steps in order of their first kernel; kernels before the first are left out.

    Steps are those that the engine's spans name, where there are any; else the cycles in which
    replays of CUDA graphs repeat. Communication belongs to a step whether a graph or an eager
    launch started it.

    Args:
        rows: All kernels of the rank.
        origin: Where they are from.
        spans: The engine's spans on the host's clock.

    Raises:
        TraceError: Nothing tells the steps.
    """
    rows = rows.sorted()
    try:
        named = steps_of(spans)
        if named is not None:
            taken = _by_spans(rows, named, on_cpu=origin.device == "cpu")
            if taken is not None:
                return _made(rows, origin, taken)
        if not rows.graphs.any():
            raise TraceError("holds no decode step, neither CUDA graphs nor spans of the engine")
        return _made(rows, origin, _by_replays(rows))
    except TraceError as error:
        raise TraceError(f"{origin.source}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """Which rows are a step's own.

    Attributes:
        step: Number of the step, [n]; NONE for rows beside the steps.
        whole: Where each step's last replay begins, [steps]: eager kernels before are its own.
        batch: Tells steps of other batch sizes apart, [steps].
        follows: Whether the next step is the next that the engine ran, [steps].
        others: Spans that are no decode.
        told: What a step is.
        rounds: A step may hold other forward passes than the model's own one.
        cycle: What the ranks' cycles of replays must share.
        eager: Rows of no step that come to one, since they are communication, [n].
        launches: When the host began each step, [steps]; None: not to be asked for those rows.
    """

    step: Ints
    eager: Bools
    whole: Ints
    batch: Ints
    follows: Bools
    others: int
    told: str
    rounds: bool
    cycle: tuple[int, ...] = ()
    launches: Ints | None = None


def _by_spans(rows: BareRows, named: SpanSteps, *, on_cpu: bool) -> _Taken | None:
    """Kernels by the spans in which the host launched them; None: no kernel is in any.

    On a CPU what schedulers tell each other between steps is an operation like the model's own.
    """
    launched = rows.launched
    if launched is None:
        return None
    known = launched != NONE
    step = np.where(known, named.of(launched), NONE)
    # Without graphs what runs behind a step's spans, such as sampling, is beside it.
    own = rows.graphs if on_cpu else rows.communicates | rows.graphs
    if not rows.graphs.any():
        own = own | named.inside(launched, step)
    used = np.unique(step[own & (step != NONE)])
    if not len(used):
        return None
    number = np.full(len(named.begin) + 1, NONE, dtype=np.int64)
    number[used] = np.arange(len(used))
    step = np.where(own, number[step], NONE)
    adjacent = np.append(
        (np.diff(used) == 1) & (named.end[used[:-1]] == named.begin[used[1:]]), False
    )
    return _Taken(
        step=step,
        whole=_last_replays(rows, step, len(used)),
        batch=named.batch[used],
        follows=adjacent,
        others=named.others,
        told=named.told,
        rounds=named.rounds,
        eager=rows.communicates & ~known,
    )


def _by_replays(rows: BareRows) -> _Taken:
    alone = bool(rows.graphs.all())
    inside = rows if alone else rows.taken(np.flatnonzero(rows.graphs))
    run, heads = _numbered(inside.replay)
    steps = len(heads)
    of_replay, cycle = _cycles(rows, inside, run, steps)
    each = len(cycle)
    in_graph = of_replay[run]
    step = in_graph
    if not alone:
        step = np.full(len(rows.start), NONE, dtype=np.int64)
        step[rows.graphs] = in_graph
    count = int(of_replay.max()) + 1 if steps else 0
    launches = None
    if rows.launched is not None and count:
        first = np.full(count, np.iinfo(np.int64).max)
        mine = step != NONE
        np.minimum.at(first, step[mine], rows.launched[mine])
        launches = first if first.min() != NONE else None
    told = "a replay of a CUDA graph" if each == 1 else f"a cycle of {each} replays of CUDA graphs"
    return _Taken(
        step=step,
        whole=_last_replays(rows, step, count) if each > 1 else np.zeros(count, int),
        batch=np.zeros(count, dtype=np.int64),
        follows=np.ones(count, dtype=bool),
        others=0,
        told=told,
        rounds=each > 1,
        cycle=cycle,
        eager=rows.communicates & ~rows.graphs,
        launches=launches,
    )


def _cycles(
    rows: BareRows, inside: BareRows, run: Ints, number: int
) -> tuple[Ints, tuple[int, ...]]:
    """The step of each replay, and what ranks' cycles share, a number a replay."""
    if number < 2:
        return np.arange(number), (0,)
    own = inside
    if np.any(run[1:] < run[:-1]):
        by_run = np.argsort(run, kind="stable")
        own, run = inside.taken(by_run), run[by_run]
    heads = np.flatnonzero(np.diff(run, prepend=-1))
    codes = _codes(rows.names)
    ends = np.maximum.reduceat(own.end, heads)
    begins = own.start[heads]
    eager = np.flatnonzero(~rows.graphs)
    beside = np.zeros(number, dtype=np.int64)
    attention = np.zeros(number, dtype=bool)
    place = np.searchsorted(begins, rows.start[eager], side="right") - 1
    eager, place = eager[place >= 0], place[place >= 0]
    np.add.at(beside, place, codes[rows.name[eager]])
    is_attention = np.array([bool(_ATTENTION.search(name)) for name in rows.names], dtype=bool)
    attention[place[is_attention[rows.name[eager]]]] = True
    return cycles(
        Replays(
            graph=np.add.reduceat(codes[own.name], heads),
            kernels=np.diff(heads, append=len(own.start)),
            communication=np.add.reduceat(own.communicates.astype(np.int64), heads),
            gap=np.append(0, np.maximum(begins[1:] - ends[:-1], 0)),
            beside=beside,
            attention=attention,
        )
    )


def _codes(names: Sequence[str]) -> Ints:
    """A number for each name, the same in every process; sums of them tell graphs apart."""
    digests = (hashlib.blake2b(short_name(name).encode(), digest_size=8) for name in names)
    return np.array([int.from_bytes(one.digest(), "big", signed=True) for one in digests])


def _last_replays(rows: BareRows, step: Ints, count: int) -> Ints:
    """Where the last replay of each step begins, [count]; 0 for steps without graphs."""
    whole = np.zeros(count, dtype=np.int64)
    mine = np.flatnonzero(rows.graphs & (step != NONE))
    _, first = np.unique(rows.replay[mine], return_index=True)
    np.maximum.at(whole, step[mine[first]], rows.start[mine[first]])
    return whole


def _made(rows: BareRows, origin: Origin, taken: _Taken) -> RankKernels:
    """The table of one rank: rows of no step come to the step that began last before them."""
    step, steps = taken.step, len(taken.batch)
    inside = step != NONE
    if not inside.all():
        step, inside = _with_beside(rows, taken, inside)
    if np.any(step[1:] < step[:-1]):
        by_step = np.argsort(step, kind="stable")
        rows, step, inside = rows.taken(by_step), step[by_step], inside[by_step]
    if len(step) and step[0] < 0:
        low = int(np.searchsorted(step, 0))
        rows, step, inside = rows.taken(slice(low, None)), step[low:], inside[low:]
    alone = bool(inside.all())
    own = np.arange(len(step)) if alone else np.flatnonzero(inside)
    of_step = step if alone else step[own]
    counts = np.bincount(of_step, minlength=steps)
    before = np.cumsum(counts) - counts
    order = np.arange(len(own)) - np.repeat(before, counts)
    if not alone:
        order, placed = np.full(len(step), -1, dtype=np.int64), order
        order[own] = placed
    begins = rows.start[own[before]]
    ends = np.maximum.reduceat(rows.end if alone else rows.end[own], before)
    period = np.full(steps, -1, dtype=np.int64)
    period[:-1] = np.where(taken.follows[:-1], np.diff(begins), -1)
    eager = not rows.graphs.any()
    if eager:
        signature = np.zeros(steps, dtype=np.int64)
    else:
        telling = rows.graphs | rows.communicates
        signature = np.bincount(step[inside & telling], minlength=steps)
    return RankKernels(
        origin=replace(
            origin,
            other_spans=taken.others,
            told=taken.told,
            rounds=taken.rounds,
            cycle=taken.cycle,
        ),
        names=rows.names,
        start=rows.start,
        end=rows.end,
        stream=rows.stream,
        name=rows.name,
        step=step,
        order=order,
        begins=begins,
        ends=ends,
        period=period,
        signature=signature,
        batch=taken.batch,
        eager=eager,
    )


def _with_beside(rows: BareRows, taken: _Taken, inside: Bools) -> tuple[Ints, Bools]:
    steps = len(taken.batch)
    own = np.flatnonzero(inside)
    begins = np.full(steps, np.iinfo(np.int64).max)
    np.minimum.at(begins, taken.step[own], rows.start[own])
    step = np.searchsorted(np.maximum.accumulate(begins), rows.start, side="right") - 1
    step[own] = taken.step[own]
    if taken.launches is not None and rows.launched is not None:
        # On a stream of its own it may start before or behind the next step; its launch tells.
        known = np.flatnonzero(taken.eager & (rows.launched != NONE))
        step[known] = np.searchsorted(taken.launches, rows.launched[known], side="right") - 1
    between = ~rows.graphs & (rows.start < taken.whole[step])
    return step, inside | ((taken.eager | between) & (step >= 0))


def _numbered(replay: Ints) -> tuple[Ints, Ints]:
    """The number of each row's replay as they appear, and the replay of each number."""
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
