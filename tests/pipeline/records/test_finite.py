"""Numbers that are not finite stop at the border where they are read, whatever they stand for."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evals.job import Outcome
from pipeline.experiment.load import SpecError, load_experiment
from pipeline.gate import Verdict
from pipeline.history.model import CellValue
from pipeline.plan.model import LayoutKey
from pipeline.records.finite import not_finite
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError
from pipeline.report.build import build
from pipeline.run.recorder import finite
from tests.pipeline.builders import make_plan_for_test, make_run
from tests.pipeline.gate.test_comparable import facts_of
from tests.pipeline.runs import experiment, servegate

ARM = "mixed-comm"
BAD = ["Infinity", "-Infinity", "NaN", "1e999"]


def run(tmp_path: Path) -> RunFolder:
    """Two equal arms with facts, which pass."""
    made = make_run(make_plan_for_test(dps=(2,)))
    made.facts = {launch.id: facts_of(launch.arm) for launch in made.plan.launches}
    return made.write(tmp_path / "runs")


def put(path: Path, keys: list[str], number: str) -> None:
    """Write a number into a JSON file as it stands, also one that JSON does not have."""
    data = json.loads(path.read_text(encoding="utf-8"))
    place: Any = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = "HERE"
    path.write_text(json.dumps(data).replace('"HERE"', number), encoding="utf-8")


def record_of(folder: RunFolder, job: str = "latency") -> Path:
    launch = next(one for one in folder.load_plan().launches if one.arm == ARM)
    return folder.launch(launch.id).cell(job).record


def test_without_them_the_run_passes(tmp_path: Path) -> None:
    assert build(run(tmp_path)).judgement.verdict is Verdict.PASS


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize(
    "keys",
    [
        ["metrics", "median_itl_ms"],
        ["metrics", "median_ttft_ms"],
        ["details", "server_ready_s"],
        ["settings", "deadline_s"],
        ["seconds"],
    ],
    ids=".".join,
)
def test_a_record_with_one_is_missing_and_the_gate_says_where(
    keys: list[str], number: str, tmp_path: Path
) -> None:
    folder = run(tmp_path)
    put(record_of(folder), keys, number)
    report = build(folder)
    assert (report.judgement.verdict, report.judgement.exit_code) == (Verdict.MISSING, 3)
    by_arm = {row.arm: row for row in report.judgement.rows}
    assert by_arm["nccl"].verdict is Verdict.PASS
    [problem] = by_arm[ARM].records.problems
    assert (problem.status, problem.failure_class) == ("invalid", "not-finite")
    assert problem.reason.startswith(f"{'.'.join(keys)} is ")


def test_every_command_on_such_a_run_ends_with_three(tmp_path: Path) -> None:
    folder = run(tmp_path)
    put(record_of(folder), ["metrics", "median_itl_ms"], "Infinity")
    for command in ("gate", "report"):
        done = servegate(command, folder.root, cwd=tmp_path)
        assert done.returncode == {"gate": 3, "report": 0}[command]
        assert "internal error" not in done.stderr
        assert "median_itl_ms is inf" in done.stdout


def test_one_in_an_answers_file_makes_its_record_missing(tmp_path: Path) -> None:
    folder = run(tmp_path)
    answers = record_of(folder, "gsm8k").with_name("answers.jsonl")
    text = answers.read_text(encoding="utf-8")
    answers.write_text(text.replace('"started_at":1.0', '"started_at":Infinity', 1), "utf-8")
    [row] = [row for row in build(folder).judgement.rows if row.arm == ARM]
    assert row.verdict is Verdict.MISSING
    assert "answers.jsonl:1" in " ".join(row.reasons)


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("plan", ["alpha"]),
        ("plan", ["jobs", "latency", "deadline_s"]),
        ("provenance", ["machine", "memory_gib"]),
    ],
)
def test_a_plan_or_provenance_with_one_is_damaged(
    name: str, keys: list[str], number: str, tmp_path: Path
) -> None:
    folder = run(tmp_path)
    put({"plan": folder.plan, "provenance": folder.provenance}[name], keys, number)
    with pytest.raises(RecordError, match=rf"{name}\.json: damaged: {'.'.join(keys)} is "):
        build(folder)


def test_facts_with_one_are_damaged(tmp_path: Path) -> None:
    folder = run(tmp_path)
    launch = folder.load_plan().launches[0].id
    put(folder.launch(launch).facts, ["arguments", "page_size"], "NaN")
    with pytest.raises(RecordError, match=r"facts\.json: damaged: arguments\.page_size is nan"):
        build(folder)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "key",
    [
        "server.ready_timeout_s",
        "jobs.latency.deadline_s",
        "gates.latency.median_itl_ms.margin",
        "engine.fake.itl_ms",
        "server.args.deep",
    ],
)
def test_an_experiment_with_one_is_refused(key: str, value: str, tmp_path: Path) -> None:
    file = experiment(tmp_path)
    with pytest.raises(SpecError) as caught:
        load_experiment(file, [f"{key}={value}"])
    number = value.replace(".", "")
    assert caught.value.problems == [f"{file}: {key} is {number}; give a finite number"]


def test_where_they_stand_is_told() -> None:
    data = {"a": [1.0, {"b": inf}], "c": {"d": -inf}, "e": nan, "f": 1e308, "g": "Infinity"}
    assert list(not_finite(data)) == ["a.1.b is inf", "c.d is -inf", "e is nan"]


def test_an_outcome_with_one_is_invalid_and_keeps_no_number() -> None:
    made = finite(
        Outcome(status="ok", metrics={"median_itl_ms": 1.0, "goodput": inf}, artifacts={"b": "b"})
    )
    assert (made.status, made.failure_class) == ("invalid", "not-finite")
    assert made.reason == "metrics.goodput is inf, which is no measured number"
    assert (made.metrics, made.artifacts) == ({}, {"b": "b"})
    good = Outcome(status="ok", metrics={"median_itl_ms": 1.0})
    assert finite(good) is good


def test_the_history_takes_none() -> None:
    layout = LayoutKey(tp=2, attention_dp=2, ep=1, nodes=1)
    what: dict[str, Any] = {"layout": layout, "arm": "a", "job": "j", "metric": "median_itl_ms"}
    assert CellValue(**what, value=1.5).value == 1.5
    with pytest.raises(ValidationError, match="finite"):
        CellValue(**what, value=inf)
