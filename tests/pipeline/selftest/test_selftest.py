"""The self-test covers every gate, says what it found, and fails where a gate cannot fire."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evals import JOBS
from evals.metrics import METRICS
from pipeline.cli.app import app
from pipeline.gate.model import Verdict
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError, Status
from pipeline.selftest import from_run, self_test, shipped
from pipeline.selftest.base import candidate, levelled
from pipeline.selftest.injections import HARMFUL_MARK, MORE_HURTS
from pipeline.selftest.stored import COLUMNS
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"


def stored(made: MadeRun, tmp_path: Path) -> RunFolder:
    return made.write(tmp_path / "runs")


def test_the_shipped_records_gate_all_that_can_be_judged() -> None:
    plan = shipped().plan
    gated = {name for gates in plan.gates.values() for name in gates}
    assert gated == {name for name, metric in METRICS.items() if metric.better != "neither"}
    assert {name for job in JOBS.values() for name in job.gated} <= gated


def test_what_hurts_is_said_of_every_unit() -> None:
    judged = [metric for metric in METRICS.values() if metric.better != "neither"]
    assert {metric.unit for metric in judged} - {""} == MORE_HURTS.keys()
    assert {
        metric.name for metric in judged if metric.compared_as == "fraction"
    } == HARMFUL_MARK.keys()


def test_the_shipped_matrix_is_whole_and_as_expected() -> None:
    found = self_test(shipped())
    assert found.ok, found.unexpected()
    assert (found.exit_code, found.left_out) == (0, [])
    cells = {(o.job, o.metric, o.column): o for o in found.outcomes if o.column}
    plan = shipped().plan
    gates = [(job, name) for job, gates in plan.gates.items() for name in gates]
    assert cells.keys() == {(*gate, column) for gate in gates for column in COLUMNS}
    verdicts = {column: {o.found for (_, _, c), o in cells.items() if c == column}
                for column in COLUMNS}  # fmt: skip
    assert verdicts == {
        "harm": {"regressed"}, "gain": {"improved", "pass"}, "nothing": {"pass"},
        "missing": {"missing"}, "invalid": {"missing"},
    }  # fmt: skip
    assert cells["logprobs", "logprob_shift", "gain"].found == "pass"
    names = {o.name for o in found.outcomes}
    assert {"A/A", "arms swapped", "a rank without witness", "facts lost"} <= names


def test_records_are_levelled_to_equal_arms() -> None:
    base = levelled(shipped())
    [place] = [candidate(base.plan)]
    assert place.arm == ARM
    own, other = (
        [base.records[cell].metrics for cell in base.cells(where, "latency")]
        for where in (place, place._replace(arm="nccl"))
    )
    assert own == other
    assert base.judged().verdict is Verdict.PASS


def test_a_runs_own_records(tmp_path: Path) -> None:
    """A run that regressed, lost a record, and is noisy: its gates are sound all the same."""
    made = make_run(
        make_plan_for_test(dps=(2,)),
        speed=lambda arm, dp, metric: 1.4 if arm == ARM else 1.0,
    )
    made.fail(made.cells(ARM, 2, "latency")[1], Status.FAILED)
    found = self_test(from_run(stored(made, tmp_path)))
    assert found.ok, found.unexpected()
    assert {o.metric for o in found.outcomes if o.column} == {"score", "median_itl_ms"}


def test_a_gate_that_cannot_fire_is_found(tmp_path: Path) -> None:
    """One launch an arm: a gate on speed stays inconclusive whatever happens."""
    made = make_run(make_plan_for_test(dps=(2,), launches=1))
    found = self_test(from_run(stored(made, tmp_path)))
    assert (found.ok, found.exit_code) == (False, 3)
    bad = {(o.metric, o.name, o.found) for o in found.unexpected() if o.column == "harm"}
    assert bad == {("median_itl_ms", "harm", "inconclusive")}


def test_too_few_questions_are_found(tmp_path: Path) -> None:
    made = make_run(make_plan_for_test(dps=(2,)), questions=4)
    found = self_test(from_run(stored(made, tmp_path)))
    assert ("score", "harm") in {(o.metric, o.name) for o in found.unexpected()}
    assert any("only 1 answers are wrong" in text for text in found.left_out)


def test_without_a_good_record_nothing_can_be_tested() -> None:
    base = shipped()
    failed = {
        cell: record.model_copy(update={"status": Status.FAILED})
        if record.job == "latency" else record
        for cell, record in base.records.items()
    }  # fmt: skip
    with pytest.raises(RecordError, match="the gated job latency has no good record"):
        self_test(replace(base, records=failed))


def test_without_another_arm_nothing_can_be_tested(tmp_path: Path) -> None:
    made = make_run(make_plan_for_test(arms=("nccl",)))
    with pytest.raises(RecordError, match="no arm but the reference"):
        self_test(from_run(stored(made, tmp_path)))


def test_the_command(tmp_path: Path) -> None:
    good = stored(make_run(make_plan_for_test(dps=(2,))), tmp_path)
    shown = CliRunner().invoke(app, ["selftest", str(good.root)])
    assert shown.exit_code == 0, shown.output
    assert "latency median ITL" in shown.output
    assert "cases as expected" in shown.output
    bad = make_run(make_plan_for_test(dps=(2,), launches=1)).write(tmp_path / "other")
    told = CliRunner().invoke(app, ["selftest", str(bad.root)])
    assert told.exit_code == 3
    assert "unexpected: latency median_itl_ms harm" in told.output
    document = CliRunner().invoke(app, ["selftest", str(bad.root), "--json"])
    assert json.loads(document.stdout)["ok"] is False
