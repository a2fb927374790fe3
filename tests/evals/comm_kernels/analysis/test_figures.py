"""Known answers to the nanosecond, from nsys exports and torch traces of 2, 4 and 8 ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generated_traces import (
    ALL_GATHER,
    ALL_REDUCE,
    GEMM,
    REDUCE_SCATTER,
    Collective,
    Compute,
    Kernel,
    Part,
    Schedule,
    write_kineto,
    write_nsys,
)
from evals.comm_kernels.analysis.capture import Known, analyse
from evals.comm_kernels.analysis.figures import Figures
from evals.comm_kernels.outcome import metrics_of
from evals.comm_kernels.traces.table import TraceError

READERS = (
    "nsys",
    "nsys, device 0 each",
    "nsys, without calls",
    "torch",
    "torch, gzipped",
    "torch, merged",
)


def written(folder: Path, how: str, kernels: Sequence[Kernel], ranks: int) -> list[Path]:
    if how.startswith("nsys"):
        path, visible, calls = folder / "a.sqlite", "device 0" not in how, "without" not in how
        return [write_nsys(path, [kernels], ranks, visible=visible, calls=calls)]
    return write_kineto(
        folder, kernels, ranks, plain="gzipped" not in how, merged="merged" in how,
        subgroups=[2] if ranks > 2 else [],
    )  # fmt: skip


def pairs(ranks: int) -> tuple[tuple[int, ...], ...]:
    return tuple((first, first + 1) for first in range(0, ranks, 2))


def layers(ranks: int, count: int = 6) -> list[Part]:
    """As SGLang with NCCL, attention TP 2: groups of two and all ranks take turns."""
    layer: list[Part] = [
        Compute(9_000, 31_000),
        Collective(REDUCE_SCATTER, 3_001, pairs(ranks)),
        Collective(ALL_GATHER, 5_003),
        Compute(20_000, 50_000),
        Collective(REDUCE_SCATTER, 5_009),
        Collective(ALL_GATHER, 3_011, pairs(ranks)),
    ]
    return count * layer


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("idle", [0.0, 0.3])
def test_all_ranks_and_groups_of_two(ranks: int, idle: float, how: str, tmp_path: Path) -> None:
    made = Schedule(ranks=ranks, steps=9, parts=layers(ranks), idle=idle, seed=ranks)
    kernels, answers = made.run()
    paths = written(tmp_path, how, kernels, ranks)
    known = Known(attention_tp=2, attention_dp=ranks // 2, ep=ranks)
    found = analyse(paths, known).figures
    waited, alone = answers.cut()
    assert found.with_imbalance_ms == pytest.approx(waited, abs=1e-9)
    assert found.without_imbalance_ms == pytest.approx(alone, abs=1e-9)
    assert alone == pytest.approx(6 * (3_001 + 5_003 + 5_009 + 3_011) / 1e6, abs=1e-12)
    assert (found.ranks, found.steps, found.skipped_steps) == (ranks, 7, 2)
    assert found.kernels_per_step == 24
    assert found.families["nccl"].with_imbalance_ms == found.with_imbalance_ms
    assert found.families["nccl"].without_imbalance_ms == found.without_imbalance_ms
    assert found.families["nccl"].kernels_per_step == 24
    # 700 ns to the next compute kernel before and behind each pair of collectives, and between them
    # (the last pair has no compute kernel behind it).
    gaps = 6 * 6 * 700 - 700
    assert found.span_ms == pytest.approx(waited + gaps / 1e6, abs=1e-9)
    assert found.overlap_ms == 0
    assert found.step_ms == pytest.approx(np.median(answers.period[1:-1]) / 1e6, abs=1e-9)
    assert found.exposed_ms == pytest.approx(waited, abs=1e-9)
    assert found.beside_ms == 0.02
    assert found.compute_ms is not None
    assert found.refused == ""


@pytest.mark.parametrize("how", ["nsys", "torch"])
def test_all_ranks_need_no_layout(how: str, tmp_path: Path) -> None:
    parts: list[Part] = [Compute(5_000, 90_000), Collective(ALL_REDUCE, 2_500)]
    made = Schedule(ranks=4, steps=6, parts=parts * 3)
    kernels, answers = made.run()
    if how == "nsys":
        paths = written(tmp_path, how, kernels, 4)
    else:
        paths = write_kineto(tmp_path, kernels, 4)
    found = analyse(paths, Known()).figures
    assert found.without_imbalance_ms == pytest.approx(0.0075, abs=1e-12)
    assert found.with_imbalance_ms == pytest.approx(answers.cut()[0], abs=1e-9)
    assert ("assumed" in found.groups) is (how == "nsys")
    assert list(found.families) == ["sglang-ar-v2"]


@pytest.mark.parametrize("how", ["nsys", "torch"])
def test_groups_that_nobody_told_are_refused(how: str, tmp_path: Path) -> None:
    kernels, answers = Schedule(ranks=4, steps=6, parts=layers(4)).run()
    paths = written(tmp_path, how, kernels, 4)
    found = analyse(paths, Known()).figures
    assert found.without_imbalance_ms is None
    assert found.families["nccl"].without_imbalance_ms is None
    assert found.with_imbalance_ms == pytest.approx(answers.cut()[0], abs=1e-9)
    why = {"nsys": "did not join all ranks", "torch": "had groups of 2 of its 4 ranks"}[how]
    assert why in found.refused
    assert "comm_without_imbalance_ms" not in metrics_of(found)


def test_groups_can_be_given_by_name(tmp_path: Path) -> None:
    parts: list[Part] = [
        Compute(5_000, 90_000),
        Collective(REDUCE_SCATTER, 2_500, ((0, 3), (1, 2))),
    ]
    parts += [Compute(5_000, 90_000), Collective(ALL_GATHER, 4_000)]
    kernels, _ = Schedule(ranks=4, steps=6, parts=parts).run()
    paths = written(tmp_path, "nsys", kernels, 4)
    given = Known(rules=["ReduceScatter=0,3:1,2", "world"])
    found = analyse(paths, given).figures
    assert found.without_imbalance_ms == pytest.approx(0.0065, abs=1e-12)
    # Among ranks that do not wait for each other, nobody needs to have come last.
    wrong = analyse(paths, Known(rules=["0,1:2,3"])).figures
    assert wrong.without_imbalance_ms is not None
    assert wrong.without_imbalance_ms > 0.0065


def kernel(rank: int, step: int, stream: int, start: int, end: int, name: str) -> Kernel:
    base = 1_000_000 * (step + 1)
    return Kernel(rank, step, stream, base + start, base + end, name, True)


def two_streams(rank: int, step: int) -> list[Kernel]:
    """A collective beside a compute kernel, one alone, and one half and half."""
    # The second stream's collective begins first on rank 0 and last on rank 1.
    early = 0 if rank == 0 else 40
    return [
        kernel(rank, step, 1, 0, 1000, GEMM),
        kernel(rank, step, 2, 100 + early, 600 + early, ALL_REDUCE),
        kernel(rank, step, 1, 1000, 1100, ALL_GATHER),
        kernel(rank, step, 1, 1100, 2100, GEMM),
        kernel(rank, step, 2, 2000, 2400, ALL_REDUCE),
        kernel(rank, step, 1, 2500, 3000, GEMM),
    ]


def worked(tmp_path: Path, how: str) -> Figures:
    kernels = [k for step in range(5) for rank in range(2) for k in two_streams(rank, step)]
    if how == "nsys":
        return analyse(written(tmp_path, how, kernels, 2), Known()).figures
    return analyse(write_kineto(tmp_path, kernels, 2), Known()).figures


@pytest.mark.parametrize("how", ["nsys", "torch"])
def test_two_streams_worked_by_hand(how: str, tmp_path: Path) -> None:
    found = worked(tmp_path, how)
    assert found.with_imbalance_ms == pytest.approx(0.001, abs=1e-12)  # 500 + 100 + 400
    assert found.without_imbalance_ms == pytest.approx(0.001, abs=1e-12)
    assert found.overlap_ms == pytest.approx(0.0006, abs=1e-12)  # 500 + 100 of 400
    # 1000 to 1100, and 2100 to 2500, of which the last 100 are nobody's
    assert found.span_ms == pytest.approx(0.0005, abs=1e-12)
    assert found.exposed_ms == pytest.approx(0.0004, abs=1e-12)  # 100 + 300
    assert found.other_kernels_ms == pytest.approx(0.0025, abs=1e-12)
    assert found.step_ms == pytest.approx(1.0, abs=1e-12)
    assert found.gaps_ms == pytest.approx(1.0 - 0.0029, abs=1e-12)
    assert found.compute == {"gemm_kernel": pytest.approx(0.0025, abs=1e-12)}
    assert found.compute_ms == pytest.approx(0.0025, abs=1e-12)
    assert {name: f.kernels_per_step for name, f in found.families.items()} == {
        "nccl": 1, "sglang-ar-v2": 2,
    }  # fmt: skip


def test_streams_that_ranks_interleave_otherwise_are_no_difference(tmp_path: Path) -> None:
    def step(rank: int, number: int) -> list[Kernel]:
        late = 300 if rank else 0
        return [
            kernel(rank, number, 1, 100, 200, ALL_GATHER),
            kernel(rank, number, 2, 50 + late, 400, ALL_REDUCE),
            kernel(rank, number, 1, 500, 900, GEMM),
        ]

    kernels = [k for n in range(4) for rank in range(2) for k in step(rank, n)]
    found = analyse(write_kineto(tmp_path, kernels, 2), Known()).figures
    assert found.with_imbalance_ms == pytest.approx((100 + (350 + 50) / 2) / 1e6, abs=1e-12)
    assert found.without_imbalance_ms == pytest.approx((100 + 50) / 1e6, abs=1e-12)


def test_the_median_is_over_steps_and_the_edges_do_not_count(tmp_path: Path) -> None:
    took = [9_000, 100, 300, 200, 70_000]
    kernels = [
        k
        for step, length in enumerate(took)
        for rank in range(2)
        for k in (
            kernel(rank, step, 1, 0, length, ALL_REDUCE),
            kernel(rank, step, 1, 80_000, 80_500, GEMM),
        )
    ]
    paths = write_kineto(tmp_path, kernels, 2)
    assert analyse(paths, Known()).figures.with_imbalance_ms == pytest.approx(0.0002, abs=1e-12)
    assert analyse(paths, Known(), edge=2).figures.with_imbalance_ms == pytest.approx(
        0.0003, abs=1e-12
    )


@pytest.mark.parametrize(("took", "refused"), [(30, True), (6, False)])
def test_an_unknown_kernel_counts_from_one_percent_of_a_step(
    took: int, refused: bool, tmp_path: Path
) -> None:
    kernels = [
        k
        for step in range(4)
        for k in (
            kernel(0, step, 1, 0, 960, GEMM),
            kernel(0, step, 1, 1000 - took, 1000, "void fancy::my_all_gather_kernel<4>(x)"),
        )
    ]
    paths = write_kineto(tmp_path, kernels, 1)
    if refused:
        with pytest.raises(TraceError, match=r"rank 0: fancy::my_all_gather_kernel .* takes 3.0%"):
            analyse(paths, Known())
    else:
        assert analyse(paths, Known()).figures.kernels_per_step == 0


def test_a_step_without_communication_has_no_metric_of_it(tmp_path: Path) -> None:
    kernels = [kernel(0, step, 1, 0, 960, GEMM) for step in range(4)]
    found = metrics_of(analyse(write_kineto(tmp_path, kernels, 1), Known()).figures)
    assert set(found) == {"other_kernels_ms", "gaps_ms", "traced_step_ms"}
