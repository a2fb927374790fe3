"""Which ranks a collective joins: given, known from the layout, or assumed and then held to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evals.comm_kernels.analysis.sequences import Collectives
from evals.comm_kernels.families import FAMILIES
from evals.comm_kernels.traces.table import Ints, TraceError, kind_of

__all__ = [
    "Grouping",
    "Partition",
    "Rule",
    "UnknownGroups",
    "assumed",
    "blocks",
    "by_rules",
    "of_layout",
    "parse_rule",
]

Partition = tuple[tuple[int, ...], ...]
"""Groups of ranks; each rank is in exactly one."""

# Clocks of GPUs on one host are brought together by the profilers to about a microsecond.
_CLOCKS_NS = 2_000
_ONE_WAY = re.compile(r"broadcast|send_?recv|\bsend|\brecv|\breduce_?sum|put|get", re.IGNORECASE)


class UnknownGroups(TraceError):
    """Nothing says which ranks a collective joins, so no minimum over them can be taken."""


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The groups of every collective.

    Attributes:
        partitions: The different ways in which the ranks are split.
        of: Index into ``partitions``, [n].
        told: Where this comes from.
    """

    partitions: tuple[Partition, ...]
    of: Ints
    told: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Groups of the kernels whose name matches; None: of all."""

    pattern: re.Pattern[str] | None
    partition: Partition


def blocks(ranks: int, size: int) -> Partition:
    """Neighbours in groups of ``size``, as SGLang forms attention TP groups.

    Raises:
        ValueError: The ranks do not divide so.
    """
    if size < 1 or ranks % size:
        raise ValueError(f"{ranks} ranks do not split into groups of {size}")
    return tuple(tuple(range(first, first + size)) for first in range(0, ranks, size))


def parse_rule(text: str, ranks: int) -> Rule:
    """``[REGEX=]world``, ``[REGEX=]size:N`` or ``[REGEX=]0,1:2,3``.

    Raises:
        ValueError: It is none of these, or does not have each rank once.
    """
    name, _, wanted = text.rpartition("=")
    try:
        pattern = re.compile(name) if name else None
    except re.error as error:
        raise ValueError(f"{text}: {name} is no regular expression: {error}") from error
    if wanted == "world":
        return Rule(pattern=pattern, partition=blocks(ranks, ranks))
    try:
        if wanted.startswith("size:"):
            return Rule(pattern=pattern, partition=blocks(ranks, int(wanted[5:])))
        partition = tuple(tuple(map(int, group.split(","))) for group in wanted.split(":"))
    except ValueError as error:
        raise ValueError(f"{text}: write world, size:2 or 0,1:2,3 ({error})") from error
    if sorted(rank for group in partition for rank in group) != list(range(ranks)):
        raise ValueError(f"{text}: must have each of the ranks 0 to {ranks - 1} exactly once")
    return Rule(pattern=pattern, partition=partition)


def by_rules(found: Collectives, rules: Sequence[Rule]) -> Grouping:
    """The first rule that matches a collective's name, or the one without a pattern.

    Raises:
        UnknownGroups: No rule is for some kernel.
    """
    partitions = tuple(dict.fromkeys(rule.partition for rule in rules))
    of_name = np.full(len(found.names), -1, dtype=np.int64)
    for place, name in enumerate(found.names):
        for rule in rules:
            if rule.pattern is None or rule.pattern.search(name):
                of_name[place] = partitions.index(rule.partition)
                break
        else:
            raise UnknownGroups(f"{name}: no groups were given for it; give some for all names")
    return Grouping(partitions=partitions, of=of_name[found.name], told="given")


def assumed(found: Collectives, subgroups: frozenset[int] | None) -> Grouping:
    """Every collective joins all ranks, unless the trace itself speaks against it.

    A collective cannot end on one rank before it has begun on all others that it joins. So if some
    kernels of what would be one collective do not overlap in time, it was not one.

    Args:
        found: All collectives.
        subgroups: Sizes of groups between one and all, as torch wrote them; None: unknown.

    Raises:
        UnknownGroups: The trace has groups of some ranks, or kernels that did not meet.
    """
    world = blocks(found.ranks, found.ranks)
    if found.ranks > 1 and subgroups:
        sizes = ", ".join(map(str, sorted(subgroups)))
        raise UnknownGroups(
            f"the run had groups of {sizes} of its {found.ranks} ranks, and a trace does not say "
            "which kernel belongs to which; say it with --layout or --groups"
        )
    two_way = np.array([_ONE_WAY.search(name) is None for name in found.names], dtype=bool)
    if found.ranks > 1 and len(found.step):
        apart = _not_met(found, found.start) & two_way[found.name]
        if apart.any():
            # Clocks of other hosts differ. All ranks leave a collective at once, which sets them.
            ends = found.start + found.took
            late = np.median(ends - ends[0], axis=1).astype(np.int64)
            if (_not_met(found, found.start - late[:, None]) & two_way[found.name]).any():
                at, many = int(np.flatnonzero(apart)[0]), int(apart.sum())
                raise UnknownGroups(_apart(found, at, many))
    told = "all ranks (no process group of some ranks in the trace)"
    if subgroups is None:
        told = "all ranks (assumed; all kernels of each collective overlap in time)"
    return Grouping(partitions=(world,), of=np.zeros(len(found.step), dtype=np.int64), told=told)


def _not_met(found: Collectives, start: Ints) -> npt.NDArray[np.bool_]:
    """Which collectives ended on a rank before they began on another, [n]."""
    met = (start + found.took).min(axis=0) - start.max(axis=0)
    return np.asarray(met < -_CLOCKS_NS)


def _apart(found: Collectives, at: int, many: int) -> str:
    early = int((found.start[:, at] + found.took[:, at]).argmin())
    late = int(found.start[:, at].argmax())
    step = int(found.step[at])
    return (
        f"collective {at - int(found.begin[step])} of step {found.numbers[step]} "
        f"({found.names[found.name[at]]}) ended on rank {early} before it began on rank {late}, so "
        f"it did not join all ranks ({many} of {len(found.step)} are so); say which ranks belong "
        "together with --layout or --groups"
    )


def of_layout(
    found: Collectives, *, attention_tp: int, attention_dp: int, ep: int, layers: int | None
) -> Grouping:
    """Groups by what SGLang does in a decode step on this layout.

    Read in SGLang 0.5.23: srt/layers/dp_attention.py (_dp_gather_via_all_gather,
    dp_reduce_scatter_tensor), logits_processor.py and vocab_parallel_embedding.py beside it.
    With attention TP > 1 and DP > 1, an embedding's all-reduce joins an attention TP group; before
    the experts, a reduce-scatter in the attention TP group and an all-gather of all ranks; behind
    them, a reduce-scatter of all and an all-gather in the attention TP group; MixedComm's kernels
    and the all-reduces that custom all-reduce v2 takes in their stead join all, as does what
    gathers for the logits.

    Args:
        found: All collectives.
        attention_tp: Ranks that share the attention of a request.
        attention_dp: Groups of those.
        ep: Expert parallel size; without attention DP, experts on some of the ranks sum in groups
            of their own.
        layers: Layers with experts; needed where all collectives are all-reduces.

    Raises:
        UnknownGroups: The ranks are not attention TP x DP, or the sequence is none that is known.
    """
    if attention_tp * attention_dp != found.ranks:
        raise UnknownGroups(
            f"{found.ranks} ranks are not attention TP {attention_tp} x attention DP "
            f"{attention_dp}; ranks of pipeline or context parallel groups need --groups"
        )
    if attention_dp == 1 and 1 < ep < found.ranks:
        raise UnknownGroups(
            f"with expert parallel size {ep} on {found.ranks} ranks and no attention DP, experts "
            "sum in groups that no sequence shows; say which with --groups"
        )
    world = blocks(found.ranks, found.ranks)
    layout = f"attention TP {attention_tp} x DP {attention_dp}"
    if attention_dp == 1 or attention_tp == 1:
        zeros = np.zeros(len(found.step), dtype=np.int64)
        return Grouping(partitions=(world,), of=zeros, told=f"all ranks ({layout})")
    letters = np.array([_letter(found, place) for place in range(len(found.names))])
    of = np.empty(len(found.step), dtype=np.int64)
    known: dict[str, Ints] = {}
    for step in range(len(found.begin) - 1):
        ours = slice(found.begin[step], found.begin[step + 1])
        text = "".join(letters[found.name[ours]])
        if text not in known:
            known[text] = _known(text, layers)
        of[ours] = known[text]
    return Grouping(partitions=(world, blocks(found.ranks, attention_tp)), of=of, told=layout)


_LETTERS = {"reduce-scatter": "R", "all-gather": "G", "all-reduce": "A"}
_COLLECTIVES = frozenset({"nccl", "nccl-symmetric", "sglang-ar-v2", "sglang-ar-legacy"})
# Embedding, layers, gathering of hidden states for the logits, gathering of the logits; and, where
# the overlap schedule is off, what schedulers gather of all ranks before the next step, outside of
# graphs (0.5.23, srt/managers/scheduler_components/dp_attn.py).
_SEQUENCE = re.compile(r"(A?)((?:RGRG)+|M+)(A?|M|RG)(G{0,2})")
_SUMS = re.compile(r"A(A+)G{0,2}")


def _letter(found: Collectives, place: int) -> str:
    name = found.names[place]
    families = found.family[found.name == place]
    family = FAMILIES[int(families[0])].name if len(families) else ""
    if family == "mixed":
        return "M"
    kind = kind_of(name)
    known = family in _COLLECTIVES or family.startswith("c10d")
    return _LETTERS[kind] if known and kind is not None else "?"


def _known(text: str, layers: int | None) -> Ints:
    """0 (all ranks) or 1 (attention TP group) for each letter of a step's sequence."""
    match = _SEQUENCE.fullmatch(text)
    if match is not None:
        embedding, body, hidden, logits = match.groups()
        each = [1, 0, 0, 1] * (len(body) // 4) if body[0] == "R" else [0] * len(body)
        tail = [1, 0] if hidden == "RG" else [0] * len(hidden)
        return np.array([1] * len(embedding) + each + tail + [0] * len(logits), dtype=np.int64)
    sums = _SUMS.fullmatch(text)
    if sums is not None and layers is not None and len(sums[1]) == 2 * layers + 1:
        return np.array([1] + [0] * (len(text) - 1), dtype=np.int64)
    raise UnknownGroups(
        f"a decode step's sequence {_shown(text)} is none that is known for attention TP and DP "
        "both above 1 (R reduce-scatter, G all-gather, A all-reduce, M MixedComm, ? another), so "
        "the ranks that each joins are unknown; say which with --groups"
    )


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:28]}...{text[-8:]} ({len(text)} kernels)"
