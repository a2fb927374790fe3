"""Which ranks a collective joins: known, given, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from evals.comm_kernels.analysis.groups import (
    UnknownGroups,
    assumed,
    blocks,
    by_rules,
    of_layout,
    parse_rule,
)
from evals.comm_kernels.analysis.sequences import Collectives
from evals.comm_kernels.families import FAMILIES, family_of

RS = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL"
AG = "ncclDevKernel_AllGather_RING_LL"
AR = "sglang::cross_device_reduce_1stage"
MIXED = "flashinfer::mixed_comm::fused_allreduce_allgather_kernel"
BCAST = "ncclDevKernel_Broadcast_RING_LL"

PAIRS = ((0, 1), (2, 3))
WORLD = ((0, 1, 2, 3),)


def found(names: list[str], steps: int = 2, ranks: int = 4) -> Collectives:
    """One after the other, all ranks at the same time."""
    known = list(dict.fromkeys(names))
    number = len(names) * steps
    families = [f.name for f in FAMILIES]
    each = [families.index(str(family_of(name))) for name in names]
    return Collectives(
        step=np.repeat(np.arange(steps), len(names)),
        name=np.array([known.index(name) for name in names] * steps),
        family=np.array(each * steps),
        numbers=np.arange(steps) + 1,
        begin=np.arange(steps + 1) * len(names),
        start=np.tile(np.arange(number) * 10_000, (ranks, 1)),
        took=np.full((ranks, number), 5_000),
        names=tuple(known),
    )


def joined(names: list[str], **layout: int | None) -> str:
    """W for all ranks and g for an attention TP group, of one step's collectives."""
    asked = {"attention_tp": 2, "attention_dp": 2, "ep": 4, "layers": 2} | layout
    grouping = of_layout(found(names), **asked)  # type: ignore[arg-type]
    partitions = [grouping.partitions[place] for place in grouping.of[: len(names)]]
    return "".join("W" if partition == WORLD else "g" for partition in partitions)


LAYER = [RS, AG, RS, AG]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (LAYER * 2, "gWWg" * 2),
        ([AR, *LAYER, *LAYER, AR, AG], "g" + "gWWg" * 2 + "WW"),
        ([*LAYER, RS, AG, AG], "gWWg" + "gWW"),
        ([AR, *LAYER, *LAYER, AR, AG, AG], "g" + "gWWg" * 2 + "WWW"),
        ([AR, MIXED, MIXED, AR, AG], "gWWWW"),
        ([AR, *[AR] * 4, AR, AG], "gWWWWWW"),
    ],
)
def test_sglangs_sequences_with_attention_tp_and_dp(names: list[str], expected: str) -> None:
    assert joined(names) == expected


@pytest.mark.parametrize(
    "names", [[RS, AG, AG, RS], [RS, AG, RS], [AR] * 4, [AG, AG], [*LAYER, BCAST]]
)
def test_a_sequence_that_is_not_known_is_refused(names: list[str]) -> None:
    with pytest.raises(UnknownGroups, match="none that is known"):
        joined(names)


def test_all_reduces_alone_need_the_number_of_layers() -> None:
    with pytest.raises(UnknownGroups):
        joined([AR] * 6, layers=None)
    with pytest.raises(UnknownGroups):
        joined([AR] * 6, layers=3)


@pytest.mark.parametrize("sizes", [(4, 1), (1, 4)])
def test_with_attention_tp_or_dp_alone_all_join(sizes: tuple[int, int]) -> None:
    assert joined([AG, BCAST], attention_tp=sizes[0], attention_dp=sizes[1]) == "WW"


def test_layouts_that_do_not_say_enough_are_refused() -> None:
    with pytest.raises(UnknownGroups, match="4 ranks are not attention TP 2 x attention DP 4"):
        joined(LAYER, attention_dp=4)
    with pytest.raises(UnknownGroups, match="expert parallel size 2 on 4 ranks"):
        joined([AG], attention_tp=4, attention_dp=1, ep=2)


def test_rules_are_tried_in_order() -> None:
    rules = [parse_rule(text, 4) for text in ("ReduceScatter=0,2:1,3", "Gather=size:2", "world")]
    grouping = by_rules(found([RS, AG, AR]), rules)
    assert [grouping.partitions[place] for place in grouping.of[:3]] == [
        ((0, 2), (1, 3)), PAIRS, WORLD,
    ]  # fmt: skip
    with pytest.raises(UnknownGroups, match="cross_device_reduce_1stage: no groups were given"):
        by_rules(found([RS, AG, AR]), rules[:2])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,1:2", "must have each of the ranks 0 to 3 exactly once"),
        ("0,1:1,2,3", "exactly once"),
        ("0,1:2,4", "exactly once"),
        ("size:3", "4 ranks do not split into groups of 3"),
        ("size:0", "do not split"),
        ("all", "write world, size:2 or 0,1:2,3"),
        ("(=world", "is no regular expression"),
    ],
)
def test_a_rule_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_rule(text, 4)


def test_neighbours() -> None:
    assert blocks(4, 2) == PAIRS
    assert blocks(4, 4) == WORLD


@pytest.mark.parametrize(
    ("late", "name", "refused"),
    [(6_000, AG, False), (7_500, AG, True), (7_500, BCAST, False)],
)
def test_kernels_that_did_not_meet_were_not_one_collective(
    late: int, name: str, refused: bool
) -> None:
    """Clocks of GPUs may differ by 2 us; the sender of a broadcast waits for nobody."""
    made = found([AG, name])
    made.start[2, 3] += late
    if refused:
        said = r"collective 1 of step 2 .* ended on rank 0 before"
        with pytest.raises(UnknownGroups, match=said):
            assumed(made, None)
    else:
        assert "assumed" in assumed(made, None).told


def test_what_torch_wrote_of_its_groups_counts() -> None:
    with pytest.raises(UnknownGroups, match="groups of 2 of its 4 ranks"):
        assumed(found([AG]), frozenset({2}))
    assert "no process group" in assumed(found([AG]), frozenset()).told
    assert assumed(found([AG], ranks=1), frozenset({2})).of.tolist() == [0, 0]
