"""From traces to counts a step: exact, or refused with where the ranks differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generated_traces import (
    ALL_REDUCE,
    Collective,
    Compute,
    Schedule,
    write_nsys,
)
from evals.accuracy.files import FAILURE
from evals.comm_kernels import CommKernelsJob, CommKernelsSettings
from evals.comm_kernels.analysis.capture import matched
from evals.comm_kernels.capture.files import FACTS, TRACES, layers_of
from evals.comm_kernels.outcome import count
from evals.comm_kernels.traces.table import RankKernels, TraceError
from evals.job import Outcome
from pipeline.premises.kernels import disagreements, expectation
from tests.evals.comm_kernels.traces import GATHER, GEMM, SCATTER, replays, spans, write

STEP = [GEMM, SCATTER, GATHER, GEMM, SCATTER, GATHER]


def counted(*paths: Path) -> dict[str, Any]:
    return count(*matched(paths))


def names(rank: RankKernels, step: int) -> list[str]:
    return [rank.names[name] for name in rank.name[rank.step == step].tolist()]


@pytest.mark.parametrize("plain", [True, False])
def test_steps_are_graph_replays_and_the_edges_are_cut(plain: bool, tmp_path: Path) -> None:
    table, _ = matched([write(tmp_path, 0, replays([STEP] * 6), plain=plain)])
    rank = table.ranks[0]
    assert (rank.rank, table.steps, table.skipped_steps) == (0, 4, 2)
    assert table.numbers.tolist() == [1, 2, 3, 4]
    assert names(rank, 0) == STEP
    assert (rank.order[:2].tolist(), rank.stream[:2].tolist()) == ([0, 1], [7, 7])
    assert (rank.start[1], rank.end[1]) == (2_015_000, 2_017_500)


def test_steps_of_another_size_are_no_full_decode(tmp_path: Path) -> None:
    table, _ = matched([write(tmp_path, 0, replays([STEP, STEP, [GEMM], STEP, STEP, STEP]))])
    assert (table.steps, dict(table.skipped)) == (3, {"first and last": 2, "of another size": 1})
    assert table.numbers.tolist() == [1, 3, 4]
    assert [names(table.ranks[0], step) for step in range(3)] == [STEP] * 3


def test_on_a_cpu_sglangs_spans_are_the_steps(tmp_path: Path) -> None:
    events = spans([["c10d::_allgather_base_", "aten::mm"]] * 5)
    events += spans([["c10d::allreduce_"]], label="EXTEND bs=1 toks=9")
    table, _ = matched([write(tmp_path, 0, events)])
    assert [names(table.ranks[0], step) for step in range(table.steps)] == [
        ["c10d::_allgather_base_", "aten::mm"]
    ] * 3
    assert dict(table.skipped) == {"first and last": 2, "no decode": 1}


def test_on_a_cpu_what_schedulers_tell_each_other_between_steps_is_no_step(
    tmp_path: Path,
) -> None:
    steps = spans([["c10d::_allgather_base_", "aten::mm"]] * 5)
    between = [
        {"ph": "X", "cat": "cpu_op", "name": "c10d::broadcast_", "ts": 950.0 + 1000 * n, "dur": 9.0}
        for n in (1, 2, 2, 4)
    ]
    table, found = matched([write(tmp_path, 0, steps + between)])
    assert [names(table.ranks[0], step)[:2] for step in range(table.steps)] == [
        ["c10d::_allgather_base_", "aten::mm"]
    ] * 3
    assert count(table, found)["families"] == {"c10d-all-gather": 1}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "is empty; the profiler saw nothing"),
        (replays([[], [], []])[1:], "holds 3 launches of CUDA graphs and no kernel in them"),
        (spans([["aten::mm"]] * 4, label="EXTEND bs=1"), "holds no decode step"),
        (replays([STEP, STEP]), "holds 2 decode steps, of which the first and the last are left"),
    ],
)
def test_a_trace_without_decode_is_refused(
    events: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(TraceError, match=said):
        matched([write(tmp_path, 0, events)])


@pytest.mark.parametrize("content", [b"", b"{", b'{"traceEvents": 5}', b"\x1f\x8b\x08broken"])
def test_what_is_no_trace_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("x.json.gz" if content.startswith(b"\x1f") else "x.json")
    path.write_bytes(content)
    with pytest.raises(TraceError, match="is no trace of torch's profiler"):
        matched([path])


def test_counts_of_all_ranks(tmp_path: Path) -> None:
    unknown = "void my_all_gather_kernel(x)"
    paths = [write(tmp_path, rank, replays([[*STEP, unknown]] * 5)) for rank in range(4)]
    assert counted(*paths) == {
        "ranks": 4, "steps": 3, "skipped_steps": 2, "rounds": False, "kernels": 7,
        "families": {"nccl": 4}, "modes": {}, "unknown": {unknown: 1},
    }  # fmt: skip


def test_ranks_that_ran_something_else_are_refused(tmp_path: Path) -> None:
    other = [GEMM, SCATTER, "void all_reduce_1shot_push_kernel<4>(x)", GEMM, SCATTER, GATHER]
    first = write(tmp_path, 0, replays([STEP] * 5))
    second = write(tmp_path, 1, replays([STEP, STEP, other, STEP, STEP]))
    with pytest.raises(TraceError) as error:
        matched([first, second])
    said = str(error.value).splitlines()
    assert said[0] == (
        "step 2: rank 0 runs 4 communication kernels and rank 1 runs 4; the first difference is "
        "number 1: ncclDevKernel_AllGather_RING_LL against all_reduce_1shot_push_kernel"
    )
    assert "-ncclDevKernel_AllGather_RING_LL" in said
    assert "+all_reduce_1shot_push_kernel" in said
    with pytest.raises(TraceError, match="is given twice"):
        matched([first, first])
    with pytest.raises(TraceError, match="rank 0 is there twice"):
        matched([first, write(tmp_path / "again", 0, replays([STEP] * 5))])


@pytest.mark.parametrize(("fewer", "refused"), [(5, False), (4, True)])
def test_ranks_may_be_one_step_apart_and_no_more(fewer: int, refused: bool, tmp_path: Path) -> None:
    paths = [
        write(tmp_path, rank, replays([STEP] * number)) for rank, number in enumerate((6, fewer))
    ]
    if refused:
        with pytest.raises(TraceError, match="rank 0 has 6 decode steps and rank 1 has 4"):
            matched(paths)
    else:
        assert counted(*paths)["steps"] == 3


def test_a_step_that_differs_from_the_others_shows_as_a_range(tmp_path: Path) -> None:
    fewer = [GEMM, GEMM, GATHER, GEMM, SCATTER, GATHER]
    found = counted(write(tmp_path, 0, replays([STEP, STEP, fewer, STEP, STEP])))
    assert found["families"] == {"nccl": {"min": 3, "max": 4}}


CUDA = {"attention_tp": 4, "attention_dp": 2, "device": "cuda"}


@pytest.mark.parametrize(
    ("preset", "families", "said"),
    [
        ("nccl", {"nccl": 120}, []),
        ("nccl", {"nccl": 122, "sglang-ar-legacy": 2}, []),
        ("nccl", {}, ["no kernel of nccl"]),
        ("nccl", {"nccl": 60}, ["60 kernels of nccl a step, expected 120"]),
        ("nccl", {"nccl": {"min": 118, "max": 120}}, ["118 to 120 kernels of nccl a step"]),
        ("nccl", {"nccl": 120, "sglang-ar-v2": 2}, ["2 kernels of sglang-ar-v2 a step, which"]),
        ("nccl-symmetric", {"nccl-symmetric": 120}, []),
        ("nccl-symmetric", {"nccl": 120}, ["no kernel of nccl-symmetric"]),
        ("mixed-comm", {"mixed": 60, "nccl": 2}, []),
        ("mixed-comm", {"nccl": 120}, ["no kernel of mixed", "120 kernels of nccl a step, more"]),
        ("mixed-comm", {"mixed": 60, "nccl": 8}, ["8 kernels of nccl a step, more than"]),
        ("mixed-comm", {"mixed": 58}, ["58 kernels of mixed a step, expected 60"]),
        ("default", {"sglang-ar-v2": 60}, []),
        ("default", {"nccl": 120}, []),
        ("default", {"mixed": 60}, ["60 kernels of mixed a step, which this arm must not run"]),
    ],
)
def test_expectations(preset: str, families: dict[str, Any], said: list[str]) -> None:
    kernels = {"families": families, "unknown": {}, "layers": 30}
    found = disagreements(expectation(preset, **CUDA), kernels)  # type: ignore[arg-type]
    assert len(found) == len(said)
    for text, expected in zip(found, said, strict=True):
        assert text.startswith(expected)


def test_without_fusion_half_of_the_collectives_are_there() -> None:
    wanted = expectation("nccl", attention_tp=1, attention_dp=8, device="cuda")
    assert disagreements(wanted, {"families": {"nccl": 60}, "layers": 30}) == []
    assert disagreements(wanted, {"families": {"nccl": 120}, "layers": 30})
    assert disagreements(wanted, {"families": {"nccl": 999}, "layers": None}) == []


@pytest.mark.parametrize(("rounds", "seen", "right"), [
    (True, 132, True), (True, 119, False), (False, 132, False),
])  # fmt: skip
def test_a_draft_models_collectives_come_on_top(rounds: bool, seen: int, right: bool) -> None:
    kernels = {"families": {"nccl": seen}, "unknown": {}, "layers": 30, "rounds": rounds}
    found = disagreements(expectation("nccl", **CUDA), kernels)  # type: ignore[arg-type]
    assert (found == []) is right


def test_an_unknown_kernel_is_a_disagreement() -> None:
    wanted = expectation("default", **CUDA)  # type: ignore[arg-type]
    said = disagreements(wanted, {"families": {}, "unknown": {"my_all_gather": 3}})
    assert said == ["unknown kernel that looks like communication: my_all_gather (3 a step)"]


SETTINGS = CommKernelsSettings(kind="comm-kernels")


def outcome(cell: Path, returncode: int = 0) -> Outcome:
    return CommKernelsJob().read(SETTINGS, cell, returncode)


def facts(cell: Path, ranks: int) -> None:
    cell.mkdir(exist_ok=True)
    (cell / FACTS).write_text(json.dumps({"ranks": ranks, "layers": 2, "device": "cuda"}))


def test_a_whole_cell(tmp_path: Path) -> None:
    facts(tmp_path, 2)
    for rank in range(2):
        write(tmp_path / TRACES, rank, replays([STEP] * 5))
    found = outcome(tmp_path)
    assert (found.status, found.reason) == ("ok", "")
    assert found.metrics["comm_with_imbalance_ms"] == 4 * 0.0025
    assert found.metrics["comm_kernels_per_step"] == 4
    assert found.metrics["traced_step_ms"] == 1.0
    assert found.counts == {"ranks": 2, "steps": 3, "skipped_steps": 2, "kernels": 6}
    assert found.details["kernels"]["families"] == {"nccl": 4}
    assert found.details["kernels"]["layers"] == 2
    assert len(found.artifacts) == 2


def test_less_than_a_whole_cell_is_no_result(tmp_path: Path) -> None:
    assert outcome(tmp_path).failure_class == "no-output"
    facts(tmp_path, 2)
    write(tmp_path / TRACES, 0, replays([STEP] * 5))
    assert (outcome(tmp_path).status, outcome(tmp_path).failure_class) == ("failed", "incomplete")
    path = write(tmp_path / TRACES, 1, replays([STEP] * 5))
    assert outcome(tmp_path, returncode=1).status == "failed"
    path.write_bytes(b"broken")
    assert (outcome(tmp_path).status, outcome(tmp_path).failure_class) == ("invalid", "trace")
    (tmp_path / FAILURE).write_text(json.dumps({"class": "profiler", "reason": "HTTP 500"}))
    assert (outcome(tmp_path).failure_class, outcome(tmp_path).reason) == ("profiler", "HTTP 500")


def test_layers_of_a_local_model(tmp_path: Path) -> None:
    assert layers_of("org/model") is None
    assert layers_of(None) is None
    (tmp_path / "config.json").write_text('{"text_config": {"num_hidden_layers": 60}}')
    assert layers_of(str(tmp_path)) == 60


def test_a_batch_that_ends_too_early_is_refused_beforehand() -> None:
    short = SETTINGS.model_copy(update={"output_len": 19})
    assert CommKernelsJob().check(SETTINGS) == []
    assert "set it to 20 or more" in CommKernelsJob().check(short)[0]


def test_nsys_is_missing_where_it_is_asked_for_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert CommKernelsJob().missing(SETTINGS) == []
    asked = SETTINGS.model_copy(update={"capture": "nsys"})
    assert CommKernelsJob().missing(asked)[0].startswith("capture: nsys is not on PATH here")


def test_an_export_of_nsys_holds_all_ranks(tmp_path: Path) -> None:
    kernels, _ = Schedule(
        ranks=2, steps=6, parts=[Compute(5_000, 9_000), Collective(ALL_REDUCE, 2_500)]
    ).run()
    facts(tmp_path, 2)
    (tmp_path / TRACES).mkdir()
    write_nsys(tmp_path / TRACES / "decode.sqlite", [kernels], 2)
    asked = SETTINGS.model_copy(update={"capture": "nsys"})
    found = CommKernelsJob().read(asked, tmp_path, 0)
    assert (found.status, found.reason) == ("ok", "")
    assert found.metrics["comm_without_imbalance_ms"] == pytest.approx(0.0025, abs=1e-12)
    assert found.artifacts == {"decode.sqlite": "traces/decode.sqlite"}
    facts(tmp_path, 4)
    found = CommKernelsJob().read(asked, tmp_path, 0)
    assert (found.status, found.reason) == ("invalid", "the trace has 2 of the server's 4 ranks")


def test_times_on_a_cpu_are_no_metrics(tmp_path: Path) -> None:
    facts(tmp_path, 1)
    write(tmp_path / TRACES, 0, spans([["c10d::_allgather_base_", "aten::mm"]] * 5))
    found = outcome(tmp_path)
    assert (found.status, found.metrics) == ("ok", {})
    assert "traced on a CPU" in found.details["times"]["refused"]
