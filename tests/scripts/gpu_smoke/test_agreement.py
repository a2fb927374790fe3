"""What counts as rounding against the float32 reference, and which explanation is left."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scripts.gpu_smoke.agreement import agreement, hypothesis

REFERENCE = {
    "ids": [5, 6, 7],
    "logprobs": [-1.0, -2.0],
    "greedy": [10, 11, 12],
    "gaps": [0.0983, 3.0, 1.0],
}


def answer(logprobs: list[float], tokens: list[int]) -> dict[str, Any]:
    pairs = zip(logprobs, [6, 7], strict=True)
    return {
        "input_token_logprobs": [[None, 5, None], *([lp, token, None] for lp, token in pairs)],
        "output_token_logprobs": [[-0.1, token, None] for token in tokens],
    }


def test_rounding_that_changes_no_token_is_equal() -> None:
    found = agreement("p", REFERENCE, answer([-1.02, -1.96], [10, 11, 12]))
    assert (found.verdict, found.equal, found.gap, found.max_at) == ("equal", 3, None, 2)
    assert found.mean_error == pytest.approx(0.03)


def test_parting_where_the_reference_nearly_ties_is_rounding() -> None:
    found = agreement("p", REFERENCE, answer([-1.0, -2.0], [99, 11, 12]))
    assert (found.verdict, found.equal, found.gap) == ("tie", 0, 0.0983)


def test_parting_where_the_reference_is_sure_is_wrong() -> None:
    found = agreement("p", REFERENCE, answer([-1.0, -2.0], [10, 99, 12]))
    assert (found.verdict, found.gap) == ("wrong", 3.0)


@pytest.mark.parametrize("logprobs", [[-1.0, -2.9], [-1.0, math.nan]])
def test_log_probabilities_that_rounding_cannot_move_are_wrong(logprobs: list[float]) -> None:
    assert agreement("p", REFERENCE, answer(logprobs, [10, 11, 12])).verdict == "wrong"


def test_fewer_log_probabilities_than_tokens_are_refused() -> None:
    short = answer([-1.0, -2.0], [10, 11, 12])
    short["input_token_logprobs"].pop()
    with pytest.raises(ValueError, match="1 tokens, the prompt has 2"):
        agreement("p", REFERENCE, short)


@pytest.mark.parametrize(
    ("wrong", "begins"),
    [
        ({"carried": 0, "compiled": 0, "torch-native": 0}, "rounding"),
        ({"carried": 3, "compiled": 0, "torch-native": 0}, "the carried kernels"),
        ({"carried": 3, "compiled": 3, "torch-native": 0}, "the attention backend"),
        ({"carried": 3, "compiled": 3, "torch-native": 3}, "neither"),
        ({"carried": 0, "compiled": None, "torch-native": 0}, "open: no answer from compiled"),
        ({"carried": 0, "compiled": 0, "torch-native": 2}, "open: wrong are torch-native"),
        ({}, "open"),
    ],
)
def test_what_is_left(wrong: dict[str, int | None], begins: str) -> None:
    assert hypothesis(wrong).startswith(begins)
