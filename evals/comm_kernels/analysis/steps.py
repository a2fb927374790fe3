"""Which steps of all ranks belong together, and which of them are decode at the full batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.traces.spans import NAMED_STEPS
from evals.comm_kernels.traces.table import Ints, KernelTable, RankKernels, TraceError

__all__ = ["aligned"]

_EDGE, _OTHER, _SPANS = "first and last", "of another size", "no decode"
# Steps of ranks are the same ones when nearly all of them share most of their time; clocks do not
# agree when nearly none does.
_SAME, _NO_CLOCK = 0.9, 0.1
_ENOUGH = 4  # pairs; of more, the first and the last are not asked
# All ranks leave a collective at once, so that the times of the last ones of the right pairs of
# steps differ by one number, the difference of the clocks, to so many nanoseconds. Those of wrong
# pairs differ so many times as much at least.
_TOGETHER_NS, _CLEARLY = 5_000, 3


def aligned(ranks: Sequence[RankKernels], *, edge: int = 1) -> KernelTable:
    """Decode steps at the full batch that all ranks have, step by step the same ones.

    The first and last ``edge`` steps are left out, since a profiler may have begun or ended inside
    them, and steps whose signature is not the usual one of their rank.

    Args:
        ranks: One entry a rank, in any order.
        edge: Steps to leave out at each end.

    Raises:
        TraceError: Ranks are missing or there twice, have lost steps or kernels, cannot be told
            which steps belong together, or no step is left.
    """
    ordered = sorted(ranks, key=lambda rank: rank.rank)
    _complete(ordered)
    if len({rank.origin.device for rank in ordered}) > 1:
        raise TraceError("some ranks were traced on a GPU and some on a CPU; trace all alike")
    for rank in ordered:
        if rank.origin.told != ordered[0].origin.told:
            raise TraceError(
                f"a step of rank {ordered[0].rank} is {ordered[0].origin.told} and one of rank "
                f"{rank.rank} is {rank.origin.told}; trace all ranks alike"
            )
        if rank.origin.cycle != ordered[0].origin.cycle:
            raise TraceError(
                f"ranks {ordered[0].rank} and {rank.rank} replay other CUDA graphs in a cycle, so "
                f"that nothing tells at which a step begins on both; {NAMED_STEPS}"
            )
    _nearly_equal(ordered)
    left = [_left(rank) for rank in ordered] if len(ordered) > 1 else [ordered[0].ends]
    shifts = [
        _shift(ordered[0], rank, left[0], theirs)
        for rank, theirs in zip(ordered, left, strict=True)
    ]
    first = max(-shift for shift in shifts)
    last = min(rank.steps - shift for rank, shift in zip(ordered, shifts, strict=True))
    seen = max(r.steps - s for r, s in zip(ordered, shifts, strict=True)) + max(shifts)
    common = last - first
    if common <= 2 * edge:
        raise TraceError(
            f"{ordered[0].source}: holds {common} decode steps, of which the first and the last "
            f"are left out ({edge} at each end); trace more steps"
        )
    begin = first + edge
    inner = [slice(begin + shift, last - edge + shift) for shift in shifts]
    signatures = np.stack(
        [rank.signature[steps] for rank, steps in zip(ordered, inner, strict=True)]
    )
    batches = np.stack([rank.batch[steps] for rank, steps in zip(ordered, inner, strict=True)])
    full = np.all(batches == _most(batches)[:, None], axis=0)
    keep = full.copy()
    keep[full] = _usual(ordered, signatures[:, full], np.flatnonzero(full) + begin)
    kept = [rank.kept(begin + shift, keep) for rank, shift in zip(ordered, shifts, strict=True)]
    steps = int(keep.sum())
    skipped = {
        _EDGE: seen - len(keep),
        _OTHER: len(keep) - steps,
        _SPANS: max(rank.origin.other_spans for rank in ordered),
    }
    return KernelTable(
        ranks=tuple(kept),
        numbers=np.flatnonzero(keep) + begin,
        skipped={key: n for key, n in skipped.items() if n},
    )


def _complete(ranks: Sequence[RankKernels]) -> None:
    if not ranks:
        raise TraceError("no trace was given")
    numbers = [rank.rank for rank in ranks]
    twice, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        where = ", ".join(str(rank.source) for rank in ranks if rank.rank == twice)
        raise TraceError(f"rank {twice} is there twice ({where})")
    worlds = {rank.origin.world for rank in ranks if rank.origin.world is not None}
    size = max([numbers[-1] + 1, *worlds])
    missing = sorted(set(range(size)) - set(numbers))
    if missing:
        listed = ", ".join(map(str, missing))
        raise TraceError(
            f"ranks {listed} of {size} are missing; without them no minimum over ranks is right: "
            "give the traces of all ranks of one server"
        )


def _nearly_equal(ranks: Sequence[RankKernels]) -> None:
    # Profilers of ranks may begin or end one step apart; more means that events were lost.
    most = max(ranks, key=lambda rank: rank.steps)
    least = min(ranks, key=lambda rank: rank.steps)
    if most.steps - least.steps > 1:
        raise TraceError(
            f"rank {most.rank} has {most.steps} decode steps and rank {least.rank} has "
            f"{least.steps}; events were lost, trace again"
        )


def _shift(base: RankKernels, other: RankKernels, ours: Ints, theirs: Ints) -> int:
    """How many steps earlier the other rank's trace begins: its step i + shift is the base's i.

    All ranks leave a collective at once, so that the ends of the right pairs of steps lie apart by
    the difference of the clocks alone. Where that does not tell (steps as regular as clockwork),
    steps that belong together overlap in time; and where clocks cannot be compared (other
    machines), equal numbers are taken as they come.

    Args:
        base: The rank that others are held against.
        other: Another.
        ours: When the base left its steps' last collectives, [steps].
        theirs: The same of the other.

    Raises:
        TraceError: It cannot be told.
    """
    if base is other:
        return 0
    pairs = {shift: _pairs(base, other, shift) for shift in (-1, 0, 1)}
    apart = {shift: _spread(theirs[two] - ours[one]) for shift, (one, two) in pairs.items()}
    best, second = sorted(apart, key=lambda shift: apart[shift])[:2]
    if apart[best] <= _TOGETHER_NS and _CLEARLY * apart[best] < apart[second]:
        return best
    shares = {shift: _sharing(base, other, shift) for shift in (-1, 0, 1)}
    best = max(shares, key=lambda shift: (shares[shift], -abs(shift)))
    # Spans on a host are as long as its noise makes them.
    if shares[best] >= _SAME or base.eager:
        return best
    if shares[best] <= _NO_CLOCK:
        if base.steps == other.steps:
            return 0
        fitting = [shift for shift in (-1, 0, 1) if _alike(base, other, shift)]
        if len(fitting) == 1:
            return fitting[0]
    raise TraceError(
        f"rank {base.rank} has {base.steps} decode steps and rank {other.rank} has {other.steps}, "
        "and neither their times nor their sizes tell which belong together; trace again"
    )


def _pairs(base: RankKernels, other: RankKernels, shift: int) -> tuple[slice, slice]:
    """Steps of both that would belong together; the ends may be torn and are left out."""
    low = max(0, -shift)
    high = min(base.steps, other.steps - shift)
    if high - low > _ENOUGH:
        low, high = low + 1, high - 1
    return slice(low, high), slice(low + shift, high + shift)


def _sharing(base: RankKernels, other: RankKernels, shift: int) -> float:
    """Share of the pairs that run at once for more than half of the shorter one's time."""
    ours, theirs = _pairs(base, other, shift)
    begins = np.maximum(base.begins[ours], other.begins[theirs])
    together = np.minimum(base.ends[ours], other.ends[theirs]) - begins
    shorter = np.minimum(
        base.ends[ours] - base.begins[ours], other.ends[theirs] - other.begins[theirs]
    )
    return float((2 * together > shorter).mean()) if len(shorter) else 0.0


def _spread(apart: Ints) -> float:
    """The most by which differences lie from their median."""
    if len(apart) < _ENOUGH - 1:
        return np.inf
    return float(np.abs(apart - np.median(apart)).max())


def _left(rank: RankKernels) -> Ints:
    """When each step's last communication ended, or last kernel if one has none, [steps]."""
    rows = np.flatnonzero((rank.families() >= 0)[rank.name] & (rank.order >= 0))
    heads = np.searchsorted(rank.step[rows], np.arange(rank.steps + 1))
    if not np.all(np.diff(heads)):
        return rank.ends
    return np.maximum.reduceat(rank.end[rows], heads[:-1])


def _alike(base: RankKernels, other: RankKernels, shift: int) -> bool:
    ours, theirs = _pairs(base, other, shift)
    return np.array_equal(base.signature[ours], other.signature[theirs])


def _most(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The most frequent number of each row."""
    return np.array([np.bincount(row).argmax() if len(row) else 0 for row in rows])


def _usual(
    ranks: Sequence[RankKernels], signatures: npt.NDArray[np.int64], numbers: Ints
) -> npt.NDArray[np.bool_]:
    """Which steps have the usual signature on all ranks.

    Raises:
        TraceError: A rank's step lacks kernels while others ran the usual number.
    """
    usual = _most(signatures)
    fits = signatures == usual[:, None]
    # A graph has the same kernels on every rank.
    mixed = np.flatnonzero(fits.any(axis=0) & ~fits.all(axis=0))
    if len(mixed):
        step = int(mixed[0])
        odd = int(np.flatnonzero(~fits[:, step])[0])
        good = int(np.flatnonzero(fits[:, step])[0])
        raise TraceError(
            f"step {numbers[step]}: rank {ranks[odd].rank} has {signatures[odd, step]} kernels, "
            f"where it usually has {usual[odd]}, and rank {ranks[good].rank} has its usual "
            f"{signatures[good, step]}; events were lost, trace again"
        )
    return np.asarray(fits.all(axis=0))
