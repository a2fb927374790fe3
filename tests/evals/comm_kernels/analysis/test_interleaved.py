"""Communicators that run beside each other: matched within each, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generated_traces import (
    ALL_GATHER,
    ALL_REDUCE,
    GEMM,
    Kernel,
    write_kineto,
    write_nsys,
)
from evals.comm_kernels.analysis.capture import Known, analyse
from evals.comm_kernels.analysis.figures import Figures

STEPS = 5
WORLD = Known(rules=["world"])
Row = tuple[int, int, int, str]
"""Stream, start, end, name."""


def analysed(folder: Path, how: str, ranks: Sequence[Sequence[Row]], known: Any = WORLD) -> Figures:
    kernels = [
        Kernel(rank, step, stream, 10**6 * (step + 1) + start, 10**6 * (step + 1) + end, name, True)
        for step in range(STEPS)
        for rank, rows in enumerate(ranks)
        for stream, start, end, name in rows
    ]
    if how == "nsys":
        return analyse([write_nsys(folder / "a.sqlite", [kernels], len(ranks))], known).figures
    return analyse(write_kineto(folder, kernels, len(ranks)), known).figures


both = pytest.mark.parametrize("how", ["nsys", "torch"])


@both
@pytest.mark.parametrize("streams", [(7, 9), (9, 7), (31, 30)])
def test_communicators_with_a_stream_each_are_matched_within_it(
    streams: tuple[int, int], how: str, tmp_path: Path
) -> None:
    """All of one name: the one with three collectives and the one with two, at once."""
    one, two = streams
    ranks = [
        [
            (7, 0, 900, ALL_REDUCE), (7, 1_000, 1_100, ALL_REDUCE), (7, 2_000, 2_100, ALL_REDUCE),
            (9, 50, 150, ALL_REDUCE), (9, 1_500, 1_900, ALL_REDUCE), (5, 0, 3_000, GEMM),
        ],
        [
            (one, 500, 900, ALL_REDUCE), (one, 1_000, 1_300, ALL_REDUCE),
            (one, 2_050, 2_100, ALL_REDUCE),
            (two, 20, 150, ALL_REDUCE), (two, 950, 1_900, ALL_REDUCE), (5, 0, 3_000, GEMM),
        ],
    ]  # fmt: skip
    found = analysed(tmp_path, how, ranks)
    assert found.refused == ""
    shortest = (400 + 100 + 50) + (100 + 400)
    assert found.without_imbalance_ms == pytest.approx(shortest / 1e6, abs=1e-12)
    waited = ((900 + 100 + 100 + 100 + 400) + (400 + 300 + 50 + 130 + 950)) / 2
    assert found.with_imbalance_ms == pytest.approx(waited / 1e6, abs=1e-12)


def on_own_streams(first: int, rows: Sequence[tuple[int, int, str]]) -> list[Row]:
    """As a graph's replay: every kernel on another stream."""
    return [(first + 3 * number, *row) for number, row in enumerate(rows)]


@both
def test_other_collectives_at_once_are_told_by_name(how: str, tmp_path: Path) -> None:
    quiet = [(100 * n, 100 * n + 50, GEMM) for n in range(40, 50)]
    spread = [(200 * n, 200 * n + 20, ALL_GATHER) for n in range(10, 19)]
    ranks = [
        on_own_streams(20, [(0, 500, ALL_REDUCE), (100, 300, ALL_GATHER), *spread, *quiet]),
        on_own_streams(70, [(50, 300, ALL_GATHER), (200, 500, ALL_REDUCE), *spread, *quiet]),
    ]
    found = analysed(tmp_path, how, ranks)
    assert found.refused == ""
    assert found.without_imbalance_ms == pytest.approx((300 + 200 + 9 * 20) / 1e6, abs=1e-12)


@both
def test_collectives_of_one_name_at_once_on_streams_of_their_own_are_refused(
    how: str, tmp_path: Path
) -> None:
    spread = [(200 * n, 200 * n + 20, ALL_REDUCE) for n in range(10, 19)]
    ranks = [
        on_own_streams(20, [(0, 500, ALL_REDUCE), (100, 300, ALL_REDUCE), *spread]),
        on_own_streams(70, [(50, 300, ALL_REDUCE), (200, 500, ALL_REDUCE), *spread]),
    ]
    found = analysed(tmp_path, how, ranks)
    assert found.without_imbalance_ms is None
    assert "on rank 0 several kernels of all_reduce_1shot_push_kernel run at once" in found.refused
    assert found.with_imbalance_ms == pytest.approx((700 + 550) / 2e6 + 9 * 20 / 1e6, abs=1e-12)


@both
def test_one_after_the_other_on_streams_of_their_own_is_the_order_of_start(
    how: str, tmp_path: Path
) -> None:
    rows = [(200 * n, 200 * n + 20 + n, ALL_REDUCE) for n in range(12)]
    late = [(start + 5, end, name) for start, end, name in rows]
    ranks = [on_own_streams(20, rows), list(reversed(on_own_streams(70, late)))]
    found = analysed(tmp_path, how, ranks)
    assert found.refused == ""
    assert found.without_imbalance_ms == pytest.approx(
        sum(15 + n for n in range(12)) / 1e6, abs=1e-12
    )
