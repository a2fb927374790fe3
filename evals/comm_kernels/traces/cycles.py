"""Decode steps from replays of CUDA graphs alone: the cycle in which graphs repeat; pure.

One replay is one step only where a forward pass is one graph. Speculative decoding replays several
graphs a round, and piecewise graphs are parts of one forward pass.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.traces.spans import NAMED_STEPS
from evals.comm_kernels.traces.table import Ints, TraceError

__all__ = ["Replays", "cycles"]

# The usual word between two replays of a graph must make up so much of them, and of the trace.
_MOST = 0.8
_NEARLY = 0.9
_PRIME = 1_000_003  # mixes two numbers that tell graphs apart
# A whole forward pass of a model has more communication, and more kernels, than this.
_FEW, _FEW_KERNELS = 4, 64
_APART = 2.0


@dataclass(frozen=True, kw_only=True)
class Replays:
    """A rank's replays of graphs in order of their first kernels; all arrays are [n].

    Attributes:
        graph: What tells one graph from another: a number from its kernels' names.
        kernels: Kernels of each.
        communication: Communication kernels of each.
        gap: Nanoseconds from the end of the one before; 0 for the first.
        beside: What tells which kernels ran between it and the next replay.
        attention: Whether one of those is a kernel of attention.
    """

    graph: Ints
    kernels: Ints
    communication: Ints
    gap: Ints
    beside: Ints
    attention: npt.NDArray[np.bool_]


def cycles(replays: Replays) -> tuple[Ints, tuple[int, ...]]:
    """The step of each replay, -1 for those of a torn cycle, and what the ranks' cycles must share.

    A step begins at the replay that makes the order of numbers of communication kernels largest,
    whichever replay the trace began with, so that captures and ranks agree; and where that leaves a
    choice, by the kernels themselves, which then must be the same on all ranks. Replays that are of
    no whole cycle make a step of their own, which then has another size than most.

    Returns:
        The steps, [n], and a number for each replay of a cycle.

    Raises:
        TraceError: Graphs repeat in no cycle, or one replay is only a piece of a forward pass.
    """
    number = len(replays.graph)
    each = np.arange(number)
    word = _word(replays.graph)
    if word is None:
        if not _alike(replays):
            _refused(replays)
        return each, (0,)
    if len(word) == 1:
        _no_larger(replays, word)
        # A graph of a whole forward pass has attention in it.
        if replays.attention[:-1].mean() < 0.5:
            _no_pieces(replays)
            return each, (0,)
        symbols = replays.graph * _PRIME + replays.beside
        word = _word(symbols)
        if word is None or len(word) == 1:
            raise TraceError(
                "attention runs between the replays of CUDA graphs, so that each is only a piece "
                f"of a forward pass, and nothing tells where one ends; {NAMED_STEPS}"
            )
    else:
        symbols = replays.graph
        _no_larger(replays, word)
    word, shared = _rotated(word, symbols, replays)
    return _parsed(symbols, word), shared


def _word(symbols: Ints) -> Ints | None:
    """The usual sequence from one replay of some graph to its next; None: there is no usual one."""
    number = len(symbols)
    kinds, counts = np.unique(symbols, return_counts=True)
    if len(kinds) <= 1:
        return symbols[:1]
    best: tuple[float, int, bytes] | None = None
    text = np.ascontiguousarray(symbols, dtype=np.int64)
    for kind in kinds[counts > 2].tolist():
        places = np.flatnonzero(text == kind)
        words = Counter(text[low:high].tobytes() for low, high in pairwise(places.tolist()))
        word, times = words.most_common(1)[0]
        length = len(word) // text.itemsize
        torn = min(int(places[0]), length - 1) + min(number - int(places[-1]), length)
        covered = (times * length + torn) / number
        if times < _MOST * (len(places) - 1) or covered < _MOST:
            continue
        if best is None or (covered, -length) > best[:2]:
            best = (covered, -length, word)
    return None if best is None else np.frombuffer(best[2], dtype=np.int64)


def _alike(replays: Replays) -> bool:
    """Whether graphs differ only as batch sizes, or a lost kernel, make them differ."""
    _, first, counts = np.unique(replays.graph, return_index=True, return_counts=True)
    often = first[counts > 1] if np.any(counts > 1) else first
    for numbers in (replays.communication[often], replays.kernels[often]):
        if numbers.max() > 0:
            return bool(numbers.min() >= _NEARLY * numbers.max())
    return False


def _no_larger(replays: Replays, word: Ints) -> None:
    """A graph beside the cycle with more communication than all of it: the cycle is of pieces."""
    kinds, first = np.unique(replays.graph, return_index=True)
    own = {int(kind) for kind in word}
    of_kind = dict(zip(kinds.tolist(), replays.communication[first].tolist(), strict=True))
    whole = sum(of_kind[int(kind)] for kind in word)
    if any(of_kind[kind] > whole for kind in of_kind if kind not in own):
        _refused(replays)


def _no_pieces(replays: Replays) -> None:
    """Equal small graphs with a longer pause behind every so many: pieces of a forward pass."""
    few = replays.communication.max(initial=0) <= _FEW and replays.kernels.max() <= _FEW_KERNELS
    gaps = np.sort(replays.gap[1:])
    if not few or len(gaps) < _FEW:
        return
    at = int(np.argmax(gaps[1:] - gaps[:-1]))
    small, large = max(float(gaps[at]), 1.0), gaps[at + 1]
    places = np.flatnonzero(replays.gap >= large)
    apart = np.unique(np.diff(places))
    regular = len(places) > 2 and len(apart) == 1 and apart[0] > 1
    if large > _APART * small and regular and places[0] <= apart[0]:
        raise TraceError(
            f"after every {apart[0]} replays of one small CUDA graph there is a longer pause, so "
            f"that each may be only a piece of a forward pass; {NAMED_STEPS}"
        )


def _refused(replays: Replays) -> NoReturn:
    kinds, first, counts = np.unique(replays.graph, return_index=True, return_counts=True)
    listed = ", ".join(
        f"{counts[place]} of {replays.kernels[first[place]]} kernels "
        f"({replays.communication[first[place]]} of communication)"
        for place in np.argsort(-counts)[:3].tolist()
    )
    raise TraceError(
        f"{len(kinds)} different CUDA graphs are replayed in no cycle that repeats: {listed}; "
        f"which of them are a decode step cannot be told; {NAMED_STEPS}"
    )


def _rotated(word: Ints, symbols: Ints, replays: Replays) -> tuple[Ints, tuple[int, ...]]:
    """The same cycle from its largest graph on, and what other ranks must have alike."""
    first = {int(kind): int(np.flatnonzero(symbols == kind)[0]) for kind in np.unique(word)}
    places = np.array([first[int(kind)] for kind in word])
    spoken = replays.communication[places].tolist()
    turns = range(len(word))

    def turned(values: list[int], turn: int) -> list[int]:
        return [*values[turn:], *values[:turn]]

    most = max(turned(spoken, turn) for turn in turns)
    best = [turn for turn in turns if turned(spoken, turn) == most]
    if len(best) == 1:
        return np.roll(word, -best[0]), tuple(most)
    size = replays.kernels[places].tolist()
    kinds = word.tolist()
    start = max(best, key=lambda turn: (turned(size, turn), turned(kinds, turn)))
    return np.roll(word, -start), tuple(turned(kinds, start))


def _parsed(symbols: Ints, word: Ints) -> Ints:
    """The step of each replay; a torn cycle at either end belongs to none."""
    length, number = len(word), len(symbols)
    whole = np.ones(max(0, number - length + 1), dtype=bool)
    for place, kind in enumerate(word.tolist()):
        whole &= symbols[place : place + len(whole)] == kind
    begins: list[int] = []
    for place in np.flatnonzero(whole).tolist():
        if not begins or place >= begins[-1] + length:
            begins.append(place)
    step = np.full(number, -1, dtype=np.int64)
    count, behind = 0, 0
    for place in [*begins, number]:
        rest = place - behind
        if rest and not (rest < length and (behind == 0 or place == number)):
            step[behind:place] = count
            count += 1
        if place < number:
            step[place : place + length] = count
            count += 1
            behind = place + length
    return step
