"""The one table of kernels that both readers fill and every figure is taken from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.families import FAMILIES, family_of

_MOST = 8


def threads() -> int:
    """One a core that this process may use, and no more than eight."""
    return max(1, min(_MOST, len(os.sched_getaffinity(0))))


if TYPE_CHECKING:
    import pyarrow as pa


Ints = npt.NDArray[np.signedinteger[Any]]
Device = Literal["gpu", "cpu"]

UNKNOWN_RANK = -1
"""The rank of a file that neither its name nor its content tells."""

_FAMILY_NAMES = tuple(family.name for family in FAMILIES)


class TraceError(ValueError):
    """A trace that nothing can be said from; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of a rank's trace besides its kernels.

    Attributes:
        rank: Number of the rank, or UNKNOWN_RANK.
        source: The file it was read from, for messages.
        device: Whether it has kernels of a GPU or, traced on a CPU, operations.
        world: Ranks of the whole run, where the trace says so.
        other_spans: Spans of steps that are no decode.
        subgroups: Sizes of the run's device process groups that are neither one rank nor all, where
            the trace says so; None: it does not.
        told: What a step is.
        rounds: A step may hold other forward passes than the model's own one, as of a draft model.
        cycle: What the ranks' cycles of replays must share, so that they begin at the same one.
    """

    rank: int
    source: Path
    device: Device
    world: int | None = None
    other_spans: int = 0
    subgroups: frozenset[int] | None = None
    told: str = ""
    rounds: bool = False
    cycle: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RankKernels:
    """The kernels of one rank, step by step; inside a step in order of start.

    Attributes:
        origin: Where they are from.
        start: Nanoseconds, [n].
        end: Nanoseconds, [n].
        stream: CUDA stream, or thread on a CPU, [n].
        name: Index into ``names``, [n].
        step: Number of the step, [n], rising. A kernel beside the steps belongs to the one that
            began last before it.
        order: Place inside the step, [n]; -1 for a kernel beside it (sampling, copies: what runs
            between two steps' graphs, or on another stream meanwhile, and is no communication).
        names: Names as the profiler has them.
        begins: Start of each step's first kernel, [steps].
        ends: The latest end of each step's kernels, [steps].
        period: From each step's start to the next one's, [steps]; -1 where no next one was seen.
        signature: What tells a decode step at the full batch from another, [steps]: its kernels of
            graphs and its communication; 0 where there are no graphs.
        batch: The same by the batch sizes that spans name, [steps]; ranks need not share it.
        eager: There are no graphs.
    """

    origin: Origin
    start: Ints
    end: Ints
    stream: Ints
    name: Ints
    step: Ints
    order: Ints
    names: tuple[str, ...]
    begins: Ints
    ends: Ints
    period: Ints
    signature: Ints
    batch: Ints
    eager: bool = False

    @property
    def rank(self) -> int:
        """Number of the rank."""
        return self.origin.rank

    @property
    def source(self) -> Path:
        """The file it was read from."""
        return self.origin.source

    def renumbered(self, rank: int) -> RankKernels:
        """The same as another rank."""
        return replace(self, origin=replace(self.origin, rank=rank))

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.begins)

    def kept(self, first: int, keep: npt.NDArray[np.bool_]) -> RankKernels:
        """Steps ``first + i`` for which ``keep[i]``, numbered from 0."""
        number = np.full(self.steps, -1, dtype=np.int64)
        chosen = np.flatnonzero(keep) + first
        number[chosen] = np.arange(len(chosen))
        rows: slice | npt.NDArray[np.bool_]
        if len(chosen) and chosen[-1] - chosen[0] + 1 == len(chosen):
            low, high = np.searchsorted(self.step, [chosen[0], chosen[-1] + 1])
            rows = slice(int(low), int(high))
        else:
            rows = np.where(self.step >= 0, number[self.step], -1) >= 0
        columns: dict[str, Any] = {
            key: getattr(self, key)[rows] for key in ("start", "end", "stream", "name", "order")
        }
        of_steps: dict[str, Any] = {
            key: getattr(self, key)[chosen]
            for key in ("begins", "ends", "period", "signature", "batch")
        }
        return RankKernels(
            origin=self.origin,
            names=self.names,
            eager=self.eager,
            step=number[self.step[rows]],
            **columns,
            **of_steps,
        )

    def families(self) -> npt.NDArray[np.int8]:
        """Index into FAMILIES of each of ``names``; -1: no communication that is known."""
        found = [family_of(name) for name in self.names]
        return np.array(
            [-1 if name is None else _FAMILY_NAMES.index(name) for name in found], dtype=np.int8
        )


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """All ranks, their steps aligned: step 5 is the same step on every rank.

    Attributes:
        ranks: In order of rank; all have the same number of steps.
        numbers: Number of each kept step, counted from the first one that rank 0 traced.
        skipped: Steps left out, by reason; the keys are for people.
    """

    ranks: tuple[RankKernels, ...]
    numbers: Ints
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps kept."""
        return len(self.numbers)

    @property
    def skipped_steps(self) -> int:
        """All steps that were left out."""
        return sum(self.skipped.values())

    def arrow(self) -> pa.Table:
        """One row a kernel: rank, step, order, stream, start_ns, end_ns, name, family."""
        import pyarrow as pa  # a third of a second: only those who write Parquet pay it

        parts = [_arrow(rank) for rank in self.ranks]
        return pa.concat_tables(parts).unify_dictionaries()


def _arrow(rank: RankKernels) -> pa.Table:
    import pyarrow as pa

    families = [family_of(name) for name in rank.names]
    known = sorted({name for name in families if name is not None})
    index = np.array([-1 if name is None else known.index(name) for name in families])
    of_rows = index[rank.name]
    return pa.table(
        {
            "rank": pa.array(np.full(len(rank.start), rank.rank, dtype=np.int32)),
            "step": pa.array(rank.step.astype(np.int32)),
            "order": pa.array(rank.order.astype(np.int32)),
            "stream": pa.array(rank.stream),
            "start_ns": pa.array(rank.start),
            "end_ns": pa.array(rank.end),
            "name": pa.DictionaryArray.from_arrays(
                pa.array(rank.name.astype(np.int32)), pa.array(list(rank.names), pa.string())
            ),
            "family": pa.DictionaryArray.from_arrays(
                pa.array(of_rows.astype(np.int32), mask=of_rows < 0), pa.array(known, pa.string())
            ),
        }
    )


_TEMPLATE = re.compile(r"[<(].*", re.DOTALL)
_KIND = (
    ("reduce-scatter", re.compile(r"reduce_?scatter", re.IGNORECASE)),
    ("all-gather", re.compile(r"all_?gather", re.IGNORECASE)),
    ("all-reduce", re.compile(r"all_?reduce|cross_device_reduce", re.IGNORECASE)),
)


def short_name(name: str) -> str:
    """A name without return type, template arguments and parameters.

    Ranks may be given other template arguments for the same collective; what precedes them is
    enough to tell whether they ran the same.
    """
    text = name.removeprefix("void ")
    for anonymous in ("(anonymous namespace)", "<unnamed>"):
        text = text.replace(anonymous, "{anonymous}")
    return _TEMPLATE.sub("", text).strip() or name


def kind_of(name: str) -> str | None:
    """``reduce-scatter``, ``all-gather`` or ``all-reduce``, by the name alone; None: another."""
    text = short_name(name)
    if "reducescatter_allreduce" in text or "allreduce_allgather" in text:
        return None  # MixedComm's fused operations are both
    return next((kind for kind, pattern in _KIND if pattern.search(text)), None)
