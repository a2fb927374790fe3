"""What a trace may be wrong in, and that each of it has its own refusal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.generated_traces import (
    ALL_GATHER,
    ALL_REDUCE,
    Collective,
    Compute,
    Kernel,
    Part,
    Schedule,
    write_kineto,
    write_nsys,
)
from evals.comm_kernels.analysis.capture import Known, analyse, matched
from evals.comm_kernels.traces.table import TraceError

LAYER: list[Part] = [
    Compute(5_000, 40_000),
    Collective(ALL_REDUCE, 2_500),
    Compute(5_000, 9_000),
    Collective(ALL_GATHER, 900),
]
PARTS = 3 * LAYER
RANKS, STEPS = 4, 8


def kernels() -> list[Kernel]:
    return Schedule(ranks=RANKS, steps=STEPS, parts=PARTS).run()[0]


def without(
    rows: Sequence[Kernel], drop: Callable[[Kernel], bool], count: int | None = None
) -> list[Kernel]:
    gone = [row for row in rows if drop(row)][:count]
    assert gone
    return [row for row in rows if row not in gone]


def export(folder: Path, rows: Sequence[Kernel]) -> list[Path]:
    return [write_nsys(folder / "a.sqlite", [rows], RANKS)]


def traces(folder: Path, rows: Sequence[Kernel]) -> list[Path]:
    return write_kineto(folder, rows, RANKS)


Writer = Callable[[Path, Sequence[Kernel]], list[Path]]
both = pytest.mark.parametrize("write", [export, traces])


@both
@pytest.mark.parametrize("name", [ALL_GATHER, "void gemm_kernel<128, 64>(Params)"])
def test_a_dropped_kernel(write: Writer, name: str, tmp_path: Path) -> None:
    rows = without(kernels(), lambda k: k[:2] == (2, 3) and k.name == name, 1)
    with pytest.raises(TraceError, match="step 3: rank 2 has 11 kernels, where it usually has 12"):
        matched(write(tmp_path, rows))


@both
def test_one_rank_ran_another_kernel(write: Writer, tmp_path: Path) -> None:
    rows = [
        k._replace(name="ncclDevKernel_SendRecv(x)")
        if k[:2] == (3, 5) and k.name == ALL_GATHER
        else k
        for k in kernels()
    ]
    with pytest.raises(TraceError, match=r"step 5: rank 0 runs 6 .* rank 3 runs 6; .* number 1: "):
        matched(write(tmp_path, rows))


@both
def test_a_rank_that_began_a_step_late_is_matched_by_time(write: Writer, tmp_path: Path) -> None:
    rows = without(kernels(), lambda k: k[:2] == (1, 0))
    table, _ = matched(write(tmp_path, rows))
    whole, _ = matched(write(tmp_path / "whole", kernels())) if write is traces else (table, None)
    assert table.steps == STEPS - 3
    assert table.skipped_steps == 3
    assert len({rank.begins[0] // 10_000 for rank in table.ranks}) <= 2
    assert table.numbers[0] == 2
    assert whole.numbers[0] in (1, 2)


@both
def test_ranks_a_step_apart_at_both_ends_are_matched_by_time(write: Writer, tmp_path: Path) -> None:
    rows = without(kernels(), lambda k: k[:2] in ((1, 0), (0, STEPS - 1)))
    table, _ = matched(write(tmp_path, rows))
    assert table.steps == STEPS - 4
    starts = [rank.begins[0] for rank in table.ranks]
    assert max(starts) - min(starts) < 50_000


@both
def test_a_step_that_was_lost_in_the_middle(write: Writer, tmp_path: Path) -> None:
    rows = without(kernels(), lambda k: k[:2] == (1, 4))
    with pytest.raises(TraceError, match="rank 0 has 8 decode steps and rank 1 has 7, and neither"):
        matched(write(tmp_path, rows))


@both
def test_steps_of_another_batch_size_are_left_out(write: Writer, tmp_path: Path) -> None:
    rows = [k for k in kernels() if k.step != 5 or k.name != ALL_GATHER]
    table, found = matched(write(tmp_path, rows))
    assert dict(table.skipped) == {"first and last": 2, "of another size": 1}
    assert 5 not in table.numbers
    assert set(found.step.tolist()) == set(range(5))


def test_a_missing_rank(tmp_path: Path) -> None:
    paths = traces(tmp_path, kernels())
    with pytest.raises(TraceError, match="ranks 2 of 4 are missing"):
        matched([path for path in paths if "TP-2" not in path.name])
    with pytest.raises(TraceError, match="ranks 3 of 4 are missing"):
        matched(paths[:3])  # the traces themselves know of four


def test_each_rank_lost_another_step(tmp_path: Path) -> None:
    rows = Schedule(ranks=2, steps=12, parts=PARTS).run()[0]
    rows = without(rows, lambda k: k[:2] in ((0, 4), (1, 8)))
    with pytest.raises(TraceError, match="rank 0 has 11 decode steps and rank 1 has 11, and neith"):
        matched(write_kineto(tmp_path, rows, 2))


def test_steps_on_other_machines_are_told_by_their_sizes(tmp_path: Path) -> None:
    rows = [k for k in kernels() if k.rank < 2 and (k.step != 3 or k.name != ALL_GATHER)]
    rows = without(rows, lambda k: k[:2] == (1, 0))
    far = [k._replace(start=k.start + 10**10, end=k.end + 10**10) if k.rank else k for k in rows]
    table, _ = matched(write_kineto(tmp_path, far, 2))
    assert table.numbers.tolist() == [2, 4, 5, 6]


def test_steps_on_other_machines_are_told_by_how_ranks_leave_them(tmp_path: Path) -> None:
    """All ranks leave a collective at once, so that only the right pairs of steps fit."""
    rows = without([k for k in kernels() if k.rank < 2], lambda k: k[:2] == (1, 0))
    far = [k._replace(start=k.start + 10**10, end=k.end + 10**10) if k.rank else k for k in rows]
    table, _ = matched(write_kineto(tmp_path, far, 2))
    assert table.numbers.tolist() == [2, 3, 4, 5, 6]
    moved = [k.start + 10**10 for k in kernels() if k[:2] == (1, 2)]
    assert table.ranks[1].begins[0] == moved[0]


def test_steps_on_other_machines_that_nothing_tells_are_refused(tmp_path: Path) -> None:
    even: list[Part] = [Compute(5_000, 5_000), Collective(ALL_REDUCE, 2_500)]
    rows = without(Schedule(ranks=2, steps=STEPS, parts=even).run()[0], lambda k: k[:2] == (1, 0))
    far = [k._replace(start=k.start + 10**10, end=k.end + 10**10) if k.rank else k for k in rows]
    with pytest.raises(TraceError, match="neither their times nor their sizes tell"):
        matched(write_kineto(tmp_path, far, 2))


def test_clocks_of_other_machines_cannot_be_compared_but_steps_counted(tmp_path: Path) -> None:
    far = [
        k._replace(start=k.start + 10**10, end=k.end + 10**10) if k.rank else k for k in kernels()
    ]
    paths = traces(tmp_path, far)
    table, _ = matched(paths)
    assert table.steps == STEPS - 2
    given = analyse(paths, Known(rules=["world"])).figures
    assert given.without_imbalance_ms == pytest.approx(3 * 3_400 / 1e6, abs=1e-12)


def test_graph_mode_by_mistake(tmp_path: Path) -> None:
    path = write_nsys(tmp_path / "a.sqlite", [kernels()], RANKS, graph_mode=True)
    with pytest.raises(TraceError, match="give nsys launch --cuda-graph-trace=node"):
        matched([path])


def test_nsys_says_that_it_lost_events(tmp_path: Path) -> None:
    said = "CUPTI: 117 events were dropped: buffer full"
    path = write_nsys(tmp_path / "a.sqlite", [kernels()], RANKS, diagnostics=["fine", said])
    with pytest.raises(TraceError, match=r"events were lost .CUPTI: 117 events were dropped"):
        matched([path])


def test_what_was_in_flight_when_nsys_stopped_is_no_loss(tmp_path: Path) -> None:
    # As 2025.3 says it on an H100; the kernels that lack are of the last step.
    said = (
        "Number of incomplete CUPTI events dropped: 24. Incomplete events appear when GPU "
        "timestamp information have not been retrieved at the time the profiling session was "
        "stopped."
    )
    rows = kernels()
    last = max(row.step for row in rows)
    begun = min(row.start for row in rows if row.step == last)
    torn = without(rows, lambda row: row.start > begun + 60_000)
    assert {row.step for row in set(rows) - set(torn)} == {last}
    path = write_nsys(tmp_path / "a.sqlite", [torn], RANKS, diagnostics=[said])
    whole = write_nsys(tmp_path / "b.sqlite", [rows], RANKS)
    assert analyse([path], Known()).figures == analyse([whole], Known()).figures


def test_more_than_can_be_in_flight_is_a_loss(tmp_path: Path) -> None:
    rows = kernels()
    step = len([row for row in rows if row.step == 3 and row.inside])
    for count, refused in ((2 * step, False), (2 * step + 1, True)):
        said = f"Number of incomplete CUPTI events dropped: {count}. Incomplete events appear ..."
        path = write_nsys(tmp_path / f"{count}.sqlite", [rows], RANKS, diagnostics=[said])
        if refused:
            with pytest.raises(TraceError, match=rf"lost .{count} incomplete ones, more than the"):
                matched([path])
        else:
            matched([path])


def test_kernels_of_no_graph(tmp_path: Path) -> None:
    eager = [k._replace(inside=False) for k in kernels()]
    with pytest.raises(TraceError, match="none of a CUDA graph"):
        matched([write_nsys(tmp_path / "a.sqlite", [eager], RANKS)])


def test_an_empty_export(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no kernel; nothing ran while nsys collected"):
        matched([write_nsys(tmp_path / "a.sqlite", [], RANKS)])
    lazy = tmp_path / "b.sqlite"
    with closing(sqlite3.connect(lazy)) as database:
        database.execute("CREATE TABLE StringIds(id INTEGER PRIMARY KEY, value TEXT)")
    with pytest.raises(TraceError, match="holds no kernel"):
        matched([lazy])


def test_what_is_no_export(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE t(a)")
    with pytest.raises(TraceError, match="is no SQLite export of Nsight Systems"):
        matched([other])
    torn = tmp_path / "torn.sqlite"
    torn.write_bytes(write_nsys(tmp_path / "a.sqlite", [kernels()], RANKS).read_bytes()[:9_000])
    with pytest.raises(TraceError, match=r"torn.sqlite: is no SQLite export"):
        matched([torn])
    report = tmp_path / "a.nsys-rep"
    report.write_bytes(b"x")
    with pytest.raises(TraceError, match="export it first: nsys export --type sqlite"):
        matched([report])
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        matched([tmp_path / "nothing.sqlite"])


def test_a_column_that_a_later_schema_renamed(tmp_path: Path) -> None:
    path = write_nsys(tmp_path / "a.sqlite", [kernels()], RANKS)
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME globalPid TO processId")
    with pytest.raises(TraceError, match="has no column globalPid"):
        matched([path])


def test_times_that_nsys_could_not_place_are_left_out(tmp_path: Path) -> None:
    rows = [*kernels(), Kernel(0, 3, 13, -1, 5, ALL_GATHER, True)]
    table, _ = matched(export(tmp_path, rows))
    assert table.steps == STEPS - 2


def test_files_that_do_not_say_their_rank_are_taken_in_order(tmp_path: Path) -> None:
    paths = []
    for rank in range(2):
        rows = [k._replace(rank=0) for k in kernels() if k.rank == rank]
        paths.append(write_nsys(tmp_path / f"{'ab'[rank]}.sqlite", [rows], 1))
    table, _ = matched(paths)
    assert [rank.rank for rank in table.ranks] == [0, 1]
    assert table.ranks[1].source == paths[1]
    named = paths[1].rename(tmp_path / "rank1.sqlite")
    with pytest.raises(TraceError, match=r"a.sqlite: nothing says which rank it is of"):
        matched([paths[0], named])


def test_a_merged_trace_holds_its_ranks_by_label(tmp_path: Path) -> None:
    paths = write_kineto(tmp_path, kernels(), RANKS, merged=True)
    table, _ = matched(paths)
    assert [rank.rank for rank in table.ranks] == [0, 1, 2, 3]


def test_the_table_as_arrow(tmp_path: Path) -> None:
    table, _ = matched(export(tmp_path, kernels()))
    made = table.arrow()
    assert made.column_names == [
        "rank", "step", "order", "stream", "start_ns", "end_ns", "name", "family",
    ]  # fmt: skip
    rows = made.to_pylist()
    assert len(rows) == RANKS * (STEPS - 2) * 13
    first = [row for row in rows if row["rank"] == 1 and row["step"] == 0]
    assert [row["order"] for row in first] == [*range(12), -1]
    assert first[1]["family"] == "sglang-ar-v2"
    assert first[0]["family"] is None
    expected = next(k for k in kernels() if k[:2] == (1, 1) and k.name == ALL_REDUCE)
    assert (first[1]["start_ns"], first[1]["end_ns"], first[1]["name"]) == (
        expected.start, expected.end, ALL_REDUCE,
    )  # fmt: skip
