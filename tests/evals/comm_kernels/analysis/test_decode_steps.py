"""What a decode step is: by the engine's spans, by cycles of replays, or refused; both readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, median

import pytest

from benchmarks.generated_traces import (
    ALL_GATHER,
    ALL_REDUCE,
    Collective,
    Compute,
    Kernel,
    NextGraph,
    Part,
    Schedule,
    named,
    write_kineto,
    write_nsys,
)
from evals.comm_kernels.analysis.capture import Known, analyse
from evals.comm_kernels.analysis.figures import Figures
from evals.comm_kernels.traces.table import TraceError

WORLD = Known(rules=["world"])
RANKS = 4
COMMUNICATION = (ALL_GATHER, ALL_REDUCE)

DRAFTED: list[Part] = [Compute(1_000, 3_000, "void draft<1>(P)"), Collective(ALL_REDUCE, 1_501)]
LAYER: list[Part] = [Compute(4_000, 9_000), Collective(ALL_REDUCE, 2_503)]
EXTEND: list[Part] = [Compute(1_000, 2_000, "void extend<1>(P)"), Collective(ALL_REDUCE, 1_009)]
SPECULATIVE = [*(2 * DRAFTED), NextGraph(), *(9 * LAYER), NextGraph(), *EXTEND]
PIECE: list[Part] = [Compute(4_000, 9_000), Collective(ALL_REDUCE, 2_003)]
PIECES = [
    *(6 * [*PIECE, Compute(2_000, 3_000, "void attention_kernel<2>(P)", eager=True), NextGraph()]),
    Compute(4_000, 5_000, "void head<1>(P)"),
]
WHOLE = 6 * PIECE
PREFILLED: list[Part] = [
    Compute(40_000, 90_000), Collective(ALL_REDUCE, 20_011), NextGraph(),
]  # fmt: skip
PREFILL = 8 * PREFILLED
BESIDE = [*WHOLE, Collective(ALL_GATHER, 30_011, eager=True)]


Spans = Callable[[Kernel], str | None]


def unnamed(_kernel: Kernel) -> None:
    return None


def analysed(
    folder: Path, how: str, kernels: Sequence[Kernel], spans: Spans = unnamed, edge: int = 1
) -> Figures:
    ranks = 1 + max(kernel.rank for kernel in kernels)
    told = named(kernels, spans)
    if how == "nsys":
        paths = [write_nsys(folder / "a.sqlite", [kernels], ranks, spans=told)]
    else:
        paths = write_kineto(folder, kernels, ranks, spans=told)
    return analyse(paths, WORLD, edge=edge).figures


def scheduled(parts: Sequence[Part], steps: int = 8, **more: object) -> list[Kernel]:
    return Schedule(ranks=RANKS, steps=steps, parts=parts, **more).run()[0]  # type: ignore[arg-type]


def sums(kernels: Iterable[Kernel], steps: Iterable[int]) -> tuple[float, float, float]:
    """By plain loops: milliseconds with and without imbalance, and kernels a step."""
    waited, alone, count = [], [], []
    for step in steps:
        rows = [
            sorted(k for k in kernels if k[:2] == (rank, step) and k.name in COMMUNICATION)
            for rank in range(RANKS)
        ]
        waited.append(fmean(sum(k.end - k.start for k in row) for row in rows))
        alone.append(sum(min(k.end - k.start for k in same) for same in zip(*rows, strict=True)))
        count.append(len(rows[0]))
    return median(waited) / 1e6, median(alone) / 1e6, median(count)


def agrees(found: Figures, kernels: Sequence[Kernel], steps: Iterable[int]) -> None:
    assert found.without_imbalance_ms is not None
    assert (
        found.with_imbalance_ms,
        found.without_imbalance_ms,
        found.kernels_per_step,
    ) == pytest.approx(sums(kernels, steps), abs=1e-9)


both = pytest.mark.parametrize("how", ["nsys", "torch"])


@both
def test_a_round_of_speculative_decoding_is_one_step(how: str, tmp_path: Path) -> None:
    kernels = scheduled(SPECULATIVE)
    found = analysed(tmp_path, how, kernels)
    assert found.step_is == "a cycle of 3 replays of CUDA graphs"
    assert found.kernels_per_step == 2 + 9 + 1
    assert found.without_imbalance_ms == pytest.approx((2 * 1_501 + 9 * 2_503 + 1_009) / 1e6)


@both
@pytest.mark.parametrize("gone", [1, 2])
@pytest.mark.parametrize("spans", [False, True])
def test_a_round_is_the_same_wherever_the_capture_began(
    gone: int, spans: bool, how: str, tmp_path: Path
) -> None:
    names = [("step[DRAFT bs=8]", "step[VERIFY bs=8]", "step[DRAFT bs=8]")] if spans else []
    kernels = scheduled(SPECULATIVE, steps=10)

    def label(kernel: Kernel) -> str | None:
        return names[0][kernel.graph] if names else None

    late = [k for k in kernels if k.step or k.graph >= gone]
    whole = analysed(tmp_path / "whole", how, kernels, label) if how == "torch" else None
    found = analysed(tmp_path, how, late, label)
    assert found.kernels_per_step == 12
    assert found.without_imbalance_ms == pytest.approx((2 * 1_501 + 9 * 2_503 + 1_009) / 1e6)
    if whole is not None:
        assert whole.without_imbalance_ms == pytest.approx(found.without_imbalance_ms)
        assert whole.step_is == found.step_is


@both
def test_ranks_that_began_at_other_graphs_of_a_round_are_matched(how: str, tmp_path: Path) -> None:
    kernels = scheduled(SPECULATIVE, steps=10)
    late = [k for k in kernels if k.step or k.graph >= k.rank % 3]
    found = analysed(tmp_path, how, late)
    assert found.without_imbalance_ms == pytest.approx((2 * 1_501 + 9 * 2_503 + 1_009) / 1e6)


@both
def test_pieces_of_a_forward_pass_are_one_step(how: str, tmp_path: Path) -> None:
    kernels = scheduled(PIECES, steps=10)
    found = analysed(tmp_path, how, kernels)
    assert found.step_is == "a cycle of 7 replays of CUDA graphs"
    assert found.steps == 8
    agrees(found, kernels, range(1, 9))
    # Attention between the pieces is the step's own, what runs behind the last is beside it.
    assert found.compute["attention_kernel"] > 6 * 0.002
    assert found.beside_ms == 0.02


@both
def test_equal_pieces_without_a_head_are_told_by_what_runs_between(
    how: str, tmp_path: Path
) -> None:
    attention = Compute(2_000, 3_000, "void attention_kernel<2>(P)", eager=True)
    parts = [*(6 * [*PIECE, attention, NextGraph()]), *PIECE]
    kernels = scheduled(parts, steps=10)
    found = analysed(tmp_path, how, kernels)
    assert found.kernels_per_step == 7
    # Where such a step begins is a matter of order, so that the waits of a step may be of two.
    assert found.without_imbalance_ms == pytest.approx(7 * 2_003 / 1e6, abs=1e-9)
    assert found.with_imbalance_ms == pytest.approx(sums(kernels, range(1, 9))[0], rel=0.02)


@both
def test_pieces_that_nothing_tells_apart_are_refused(how: str, tmp_path: Path) -> None:
    attention = Compute(2_000, 3_000, "void attention_kernel<2>(P)", eager=True)
    kernels = scheduled([*PIECE, attention, NextGraph()], steps=24, sampler=0)
    with pytest.raises(TraceError, match=r"attention runs between the replays.*SGLANG_ENABLE_NVTX"):
        analysed(tmp_path, how, kernels)
    paused = [
        k._replace(start=k.start + k.step // 6 * 90_000, end=k.end + k.step // 6 * 90_000)
        for k in scheduled(PIECE, steps=24, sampler=0, between=2_000)
    ]
    with pytest.raises(TraceError, match=r"after every 6 replays .* piece of a forward pass"):
        analysed(tmp_path / "paused", "torch", paused)


@both
def test_prefill_is_no_step_where_spans_name_it(how: str, tmp_path: Path) -> None:
    every = dict.fromkeys((0, 10, 11, 12), PREFILL)
    kernels = scheduled(WHOLE, steps=20, every=every)

    def label(kernel: Kernel) -> str:
        if kernel.step not in every:
            return "step[DECODE bs=8]"
        return "step[EXTEND bs=4 toks=4096]" if kernel.graph == 0 else "prefill piece"

    found = analysed(tmp_path, how, kernels, label)
    agrees(found, kernels, [step for step in range(2, 19) if step not in every])
    assert found.kernels_per_step == 6
    assert found.skipped["no decode"] == 4


@both
def test_prefill_that_nothing_names_is_refused(how: str, tmp_path: Path) -> None:
    kernels = scheduled(WHOLE, steps=20, every=dict.fromkeys((0, 10, 11, 12), PREFILL))
    with pytest.raises(TraceError, match=r'replayed in no cycle .*"activities": \["CPU", "GPU"\]'):
        analysed(tmp_path, how, kernels)


@both
def test_spans_without_any_decode_are_no_reason_to_take_replays(how: str, tmp_path: Path) -> None:
    kernels = scheduled(WHOLE)
    with pytest.raises(TraceError, match=r"its spans are step\[EXTEND bs=1 toks=9\]; trace while"):
        analysed(tmp_path, how, kernels, lambda _: "step[EXTEND bs=1 toks=9]")


@both
def test_rounds_of_the_scheduler_tell_pieces_too(how: str, tmp_path: Path) -> None:
    every = dict.fromkeys((0, 5), PREFILL)
    kernels = scheduled(PIECES, steps=12, every=every)
    found = analysed(
        tmp_path, how, kernels, lambda k: "scheduler.run_batch" if k.graph == 0 else None
    )
    assert found.step_is == "a round of the scheduler"
    agrees(found, kernels, [step for step in range(1, 11) if step not in every])


@both
def test_spans_and_replays_say_the_same_of_whole_steps(how: str, tmp_path: Path) -> None:
    kernels = scheduled(BESIDE)
    by_replays = analysed(tmp_path, how, kernels)
    (tmp_path / "spans").mkdir()
    by_spans = analysed(tmp_path / "spans", how, kernels, lambda _: "step[DECODE bs=8]")
    assert by_spans.step_is == "a span of the engine"
    for name in ("with_imbalance_ms", "without_imbalance_ms", "step_ms", "beside_ms", "span_ms"):
        assert getattr(by_spans, name) == pytest.approx(getattr(by_replays, name), abs=1e-9), name


@both
def test_communication_outside_a_graph_belongs_to_its_step(how: str, tmp_path: Path) -> None:
    kernels = scheduled(BESIDE)
    found = analysed(tmp_path, how, kernels)
    agrees(found, kernels, range(1, 7))
    assert found.kernels_per_step == 7
    assert found.without_imbalance_ms == pytest.approx((6 * 2_003 + 30_011) / 1e6)


@both
def test_a_rank_that_lost_communication_outside_a_graph_is_refused(
    how: str, tmp_path: Path
) -> None:
    kernels = scheduled(BESIDE)
    lost = next(k for k in kernels if k[:2] == (2, 3) and k.name == ALL_GATHER)
    kernels.remove(lost)
    with pytest.raises(TraceError, match="step 3: rank 2 has 12 kernels, where it usually has 13"):
        analysed(tmp_path, how, kernels)


@both
def test_a_round_that_lacks_a_replay_on_one_rank_is_refused(how: str, tmp_path: Path) -> None:
    kernels = [k for k in scheduled(SPECULATIVE) if (*k[:2], k.graph) != (1, 4, 0)]
    with pytest.raises(TraceError, match="rank 1 has 20 kernels, where it usually has 24"):
        analysed(tmp_path, how, kernels)


@both
def test_steps_of_another_batch_are_left_out_by_their_span(how: str, tmp_path: Path) -> None:
    kernels = scheduled(WHOLE, steps=9)
    found = analysed(
        tmp_path, how, kernels, lambda k: f"step[DECODE bs={7 if k.step in {3, 5} else 8} sq=1]"
    )
    assert dict(found.skipped) == {"first and last": 2, "of another size": 2}
    agrees(found, kernels, [1, 2, 4, 6, 7])


@both
def test_eager_steps_are_told_by_spans_alone(how: str, tmp_path: Path) -> None:
    parts: list[Part] = [
        Compute(4_000, 9_000, eager=True), Collective(ALL_REDUCE, 2_003, eager=True),
    ]  # fmt: skip
    kernels = scheduled(parts, steps=9)
    marked = [(k.rank, k.start - 9_500, k.end, k) for k in kernels if k.name.startswith("void gem")]
    told = [(rank, begin, end, "step[DECODE bs=8]") for rank, begin, end, _ in marked]
    if how == "nsys":
        paths = [write_nsys(tmp_path / "a.sqlite", [kernels], RANKS, spans=told)]
    else:
        paths = write_kineto(tmp_path, kernels, RANKS, spans=told)
    agrees(analyse(paths, WORLD).figures, kernels, range(1, 8))


def test_vllms_spans_are_read(tmp_path: Path) -> None:
    kernels = scheduled(PIECES, steps=10, every={4: PREFILL})

    def label(kernel: Kernel) -> str | None:
        if kernel.graph:
            return None
        context = 3 if kernel.step == 4 else 0
        return f"execute_context_{context}({100 * context})_generation_8(8)"

    found = analysed(tmp_path, "torch", kernels, label)
    agrees(found, kernels, [step for step in range(1, 9) if step != 4])


def test_ranks_whose_steps_are_told_otherwise_are_refused(tmp_path: Path) -> None:
    kernels = scheduled(WHOLE)
    told = [span for span in named(kernels, lambda _: "step[DECODE bs=8]") if span[0] == 0]
    paths = write_kineto(tmp_path, kernels, RANKS, spans=told)
    with pytest.raises(TraceError, match="rank 0 is a span of the engine and one of rank 1 is a"):
        analyse(paths, WORLD)


TWO_HALVES: list[Part] = [
    *(3 * PIECE),
    NextGraph(),
    *(3 * PIECE),
    Compute(2_000, 3_000, "void b()"),
]


@both
@pytest.mark.parametrize("other", [False, True])
def test_graphs_with_equal_communication_must_be_the_same_on_all_ranks(
    other: bool, how: str, tmp_path: Path
) -> None:
    """Else one rank's step could begin at the first half and another's at the second."""
    kernels = scheduled(TWO_HALVES, steps=9)
    if other:
        first = {k: k.start for k in kernels if k.rank == 1 and k.graph == 0}
        kernels += [
            k._replace(start=k.end + 50, end=k.end + 90 + n, name=f"void more_{n}()")
            for k in first
            if k.name in COMMUNICATION
            for n in range(2)
        ]
        with pytest.raises(TraceError, match="ranks 0 and 1 replay other CUDA graphs in a cycle"):
            analysed(tmp_path, how, kernels)
    else:
        found = analysed(tmp_path, how, kernels)
        assert found.without_imbalance_ms == pytest.approx(6 * 2_003 / 1e6, abs=1e-9)
