"""Every branch of the choice between a fused operation and SGLang's own path."""

from dataclasses import replace
from typing import Any

import pytest

from servegate_sglang.mixed_comm.policy import (
    Call,
    Direction,
    Layout,
    Matrix,
    Operation,
    Reason,
    choose,
    layout_reason,
)
from tests.launchers.plugins.mixed_comm.layout import plain_layout

FUSED = plain_layout(4, 2, rank=3)
UNFUSED = replace(FUSED, attention_tp=1, attention_dp=8)


def matrix(*shape: int, dtype: str = "bfloat16", contiguous: bool = True) -> Matrix:
    return Matrix(shape=shape, dtype=dtype, contiguous=contiguous)


Changes = dict[str, Any]
CALLS: list[tuple[Changes, Reason]] = [
    ({"max_len": False}, Reason.PADDING_MODE),
    ({"world_gather": True}, Reason.WORLD_GATHER),
    ({"variable_length": True}, Reason.VARIABLE_LENGTH),
    ({"attention_tp": 8}, Reason.OTHER_LAYOUT),
    ({"attention_dp": 1}, Reason.OTHER_LAYOUT),
    ({"small": matrix(4, 64, dtype="int32")}, Reason.DTYPE),
    ({"big": matrix(8, 64, dtype="float16")}, Reason.DTYPE),
    ({"small": matrix(4, 64, contiguous=False)}, Reason.NOT_CONTIGUOUS),
    ({"big": matrix(8, 64, contiguous=False)}, Reason.NOT_CONTIGUOUS),
    ({"small": matrix(256)}, Reason.NOT_A_MATRIX),
    ({"big": matrix(8, 8, 8)}, Reason.NOT_A_MATRIX),
    ({"small": matrix(0, 64), "big": matrix(0, 64)}, Reason.EMPTY),
    ({"small": matrix(4, 0), "big": matrix(8, 0)}, Reason.EMPTY),
    ({"big": matrix(9, 64)}, Reason.SHAPES_DISAGREE),
    ({"big": matrix(8, 32)}, Reason.SHAPES_DISAGREE),
    ({"small": matrix(1, 12), "big": matrix(2, 12)}, Reason.UNALIGNED),
]
LAYOUTS: list[tuple[Changes, Reason]] = [
    ({"attention_dp_enabled": False}, Reason.NO_ATTENTION_DP),
    ({"attention_tp": 8, "attention_dp": 1}, Reason.NO_ATTENTION_DP),
    ({"attention_tp": 2, "attention_cp": 2}, Reason.CONTEXT_PARALLEL),
    ({"pipeline": 2, "world_size": 16}, Reason.PIPELINE_PARALLEL),
    ({"elastic": True}, Reason.ELASTIC),
    ({"world_size": 16}, Reason.WORLD_IS_NOT_TP_GROUP),
    (
        {"tp_size": 16, "world_size": 16, "attention_tp": 8},
        Reason.GROUP_SIZE,
    ),
    (
        {"tp_size": 6, "world_size": 6, "attention_tp": 3},
        Reason.GROUP_SIZE,
    ),
    ({"attention_tp": 2}, Reason.LAYOUT_DOES_NOT_TILE),
    ({"dtype": "float32"}, Reason.MODEL_DTYPE),
    ({"deterministic": True}, Reason.DETERMINISTIC),
    ({"two_batch_overlap": True}, Reason.TWO_BATCH_OVERLAP),
    ({"single_batch_overlap": True}, Reason.SINGLE_BATCH_OVERLAP),
    ({"multiplexed_prefill": True}, Reason.MULTIPLEXED_PREFILL),
    ({"speculative": True}, Reason.SPECULATIVE),
    ({"nodes": 8}, Reason.GROUP_SIZE),
]


def call(layout: Layout = FUSED, direction: Direction = Direction.GATHER) -> Call:
    return Call(
        direction=direction,
        small=matrix(4, 64),
        big=matrix(4 * layout.attention_dp, 64),
        attention_tp=layout.attention_tp,
        attention_dp=layout.attention_dp,
        world_gather=False,
        variable_length=False,
        max_len=True,
    )


@pytest.mark.parametrize(
    ("layout", "direction", "operation"),
    [
        (FUSED, Direction.GATHER, Operation.ALLREDUCE_ALLGATHER),
        (FUSED, Direction.SCATTER, Operation.REDUCESCATTER_ALLREDUCE),
        (UNFUSED, Direction.GATHER, Operation.ALLGATHER),
        (UNFUSED, Direction.SCATTER, Operation.REDUCESCATTER),
    ],
)
def test_operation_follows_the_layout(
    layout: Layout, direction: Direction, operation: Operation
) -> None:
    assert choose(call(layout, direction), layout) is operation


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(("changes", "reason"), CALLS)
def test_call_passes_through(direction: Direction, changes: Changes, reason: Reason) -> None:
    asked = replace(call(direction=direction), **changes)
    assert choose(asked, FUSED) is reason


def test_both_tensors_of_a_foreign_dtype_pass_through() -> None:
    both: Changes = {"small": matrix(4, 64, dtype="float32"), "big": matrix(8, 64, dtype="float32")}
    assert choose(replace(call(), **both), FUSED) is Reason.DTYPE


def test_a_call_that_does_not_say_how_it_was_padded_is_taken() -> None:
    asked = replace(call(), max_len=None)
    assert choose(asked, FUSED) is Operation.ALLREDUCE_ALLGATHER


def test_rows_of_unaligned_width_may_fill_whole_accesses() -> None:
    asked = replace(call(), small=matrix(2, 12), big=matrix(4, 12))
    assert choose(asked, FUSED) is Operation.ALLREDUCE_ALLGATHER


TWO_NODES = replace(FUSED, tp_size=16, world_size=16, attention_tp=8, nodes=2)


@pytest.mark.parametrize(
    "layout",
    [
        FUSED,
        UNFUSED,
        replace(FUSED, dtype="float16"),
        TWO_NODES,
        replace(TWO_NODES, attention_tp=2, attention_dp=8),
        replace(FUSED, nodes=2),
        replace(FUSED, nodes=4),
    ],
)
def test_layout_with_a_use_for_a_handler(layout: Layout) -> None:
    assert layout_reason(layout) is None


@pytest.mark.parametrize(("changes", "reason"), LAYOUTS)
def test_layout_without_a_use_for_a_handler(changes: Changes, reason: Reason) -> None:
    assert layout_reason(replace(FUSED, **changes)) is reason


def test_every_reason_is_in_a_table() -> None:
    in_hooks = {Reason.COMPILING}
    assert {reason for _, reason in CALLS + LAYOUTS} | in_hooks == set(Reason)
