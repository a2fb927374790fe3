"""Closure rows of a whole run: which jobs they join, and what a reader gets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.gate import judge
from pipeline.gate.itl_breakdown import closures, traced_beside
from pipeline.report.build import build, write
from pipeline.report.terminal import terminal_reasons
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"
LATENCY = {"kind": "latency", "output_len": 32, "concurrency": 8}
KERNELS = {"kind": "comm-kernels", "concurrency": 8, "launches": 2, "output_len": 64}
JOBS = {"latency": {**LATENCY, "input_len": 128}, "kernels": KERNELS}


def times(exposed: float, other: float, moe: float) -> dict[str, Any]:
    return {
        "exposed_ms": exposed, "other_kernels_ms": other, "gaps_ms": 1.0,
        "step_ms": exposed + other + 1.0, "compute": {"moe": moe},
    }  # fmt: skip


def traced_run(moe: float = 6.0, jobs: dict[str, Any] | None = None) -> MadeRun:
    """The arm is 1 ms faster of 10; its traces say 0.9 ms of communication, and of MoE the rest."""
    plan = make_plan_for_test(
        dps=(4,), jobs=JOBS if jobs is None else jobs,
        gates={"latency": {"median_itl_ms": {"margin": 0.03}}},
    )  # fmt: skip
    made = make_run(plan, speed=lambda arm, _dp, _metric: 0.9 if arm == ARM else 1.0)
    for cell, record in made.records.items():
        if record.kind == "comm-kernels":
            found = times(0.5, 3.0 + moe, moe) if record.arm == ARM else times(1.4, 9.0, 6.0)
            known = {"comm_exposed_ms": found["exposed_ms"], "traced_step_ms": found["step_ms"]}
            made.change(cell, details={"times": found}, metrics=known)
    return made


def test_a_run_with_both_jobs_has_a_row_and_the_reports_show_it(tmp_path: Path) -> None:
    made = traced_run()
    folder = made.write(tmp_path)
    report = write(folder)
    (row,) = report.judgement.closures
    assert (row.arm, row.job, row.traced, row.missing) == (ARM, "latency", "kernels", "")
    assert {part.name: round(part.change_ms, 6) for part in row.parts} == {
        "communication": -0.9, "other kernels": 0.0, "gaps": 0.0,
    }  # fmt: skip
    assert row.itl is not None
    assert row.itl.change_ms == pytest.approx(-1.0, abs=0.01)
    for path in (folder.report_md, folder.report_html):
        text = path.read_text(encoding="utf-8")
        assert "What a change of ITL is made of" in text
        assert "-0.900 ms" in text
        assert "no trace was taken, so" not in text
    document = report.document()
    assert document["closures"][0]["parts"][0]["change_ms"] == -0.9
    assert any(": ITL -" in line and "communication -0.900 ms" in line
               for line in terminal_reasons(report.judgement))  # fmt: skip
    assert not any("What a change of ITL" in line for line in report.not_checked)


@pytest.mark.parametrize(("moe", "warned"), [(4.0, True), (6.0, False)])
def test_compute_that_got_faster_is_a_warning_on_the_row(moe: float, warned: bool) -> None:
    made = traced_run(moe)
    judged = judge(made.plan, made.records.values(), made.read, {})
    notes = {row.arm: row.notes for row in judged.rows}
    assert any(note.startswith("too good: ") and "moe 6 ms to 4 ms" in note
               for note in notes[ARM]) is warned  # fmt: skip
    assert not any(note.startswith("too good") for note in notes["nccl"])
    assert any("too good" in line for line in terminal_reasons(judged)) is warned


def test_a_missing_record_is_said_and_gives_no_figures(tmp_path: Path) -> None:
    made = traced_run()
    cell = made.cells(ARM, 4, "kernels")[1]
    del made.records[cell]
    report = build(made.write(tmp_path))
    (row,) = report.judgement.closures
    assert row.missing == f"{cell} has no record"
    assert row.parts == []
    assert any(f"{cell} has no record" in line for line in report.not_checked)


def test_the_latency_job_is_the_one_under_the_load_of_the_traces() -> None:
    jobs = {
        "wide": {**LATENCY, "concurrency": 16, "input_len": 32},
        "long": {**LATENCY, "input_len": 8192},
        "short": {**LATENCY, "input_len": 64},
        "kernels": KERNELS,
    }
    plan = make_plan_for_test(dps=(4,), jobs=jobs, gates={})
    assert traced_beside(plan) == {"kernels": "short"}
    del jobs["long"], jobs["short"]
    plan = make_plan_for_test(dps=(4,), jobs=jobs, gates={})
    assert closures(plan, []) == []


def test_traces_without_such_a_latency_job_are_told(tmp_path: Path) -> None:
    jobs = {"latency": {**LATENCY, "concurrency": 16, "input_len": 32}, "kernels": KERNELS}
    report = build(traced_run(jobs=jobs).write(tmp_path))
    assert report.judgement.closures == []
    assert any("no latency job has as many requests" in line for line in report.not_checked)
