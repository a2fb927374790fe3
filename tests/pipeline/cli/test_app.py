"""The commands as a user types them: output, exit codes, and what bad input gets to hear."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runs import accuracy_job, experiment, only_run, servegate

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"


def test_plan_prints_every_launch_and_starts_nothing(tmp_path: Path) -> None:
    done = servegate("plan", EXPERIMENTS / "fake.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert len(re.findall(r"^\[\d+\] \d\d-", done.stdout, re.MULTILINE)) == 36
    assert "SGLANG_USE_MIXED_COMM=1" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_plan_json_is_one_document_on_stdout(tmp_path: Path) -> None:
    done = servegate("plan", EXPERIMENTS / "fake.yaml", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    assert len(document["launches"]) == 36


def test_run_report_and_gate_agree(tmp_path: Path) -> None:
    file = experiment(
        tmp_path, jobs={"gsm8k": accuracy_job()}, gates={"gsm8k": {"score": {"margin": 0.2}}}
    )
    ran = servegate("run", file, "--out", tmp_path / "elsewhere", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "verdict: pass (gate exit code 0)" in ran.stdout
    (run,) = (tmp_path / "elsewhere" / "tiny").iterdir()
    before = (run / "report.json").read_bytes()
    (run / "report.json").unlink()
    reported = servegate("report", run, "--json", cwd=tmp_path)
    assert json.loads(reported.stdout)["verdict"] == "pass"
    assert (run / "report.json").read_bytes() == before
    judged = servegate("gate", run, "--json", cwd=tmp_path)
    assert judged.returncode == 0
    assert json.loads(judged.stdout)["exit_code"] == 0


def test_a_worse_arm_ends_with_one_and_its_row_is_regressed(tmp_path: Path) -> None:
    file = experiment(
        tmp_path, jobs={"gsm8k": accuracy_job()}, gates={"gsm8k": {"score": {"margin": 0.2}}},
        arms={"nccl": {"preset": "nccl"}, "bad": {"preset": "nccl", "fake": {"accuracy": 0.3}}},
    )  # fmt: skip
    ran = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert ran.returncode == 1
    document = json.loads((only_run(tmp_path) / "report.json").read_text(encoding="utf-8"))
    assert {row["arm"]: row["verdict"] for row in document["rows"]}["bad"] == "regressed"
    # A demonstration counts records, not verdicts, and still says what the gate would.
    shown = servegate("run", "--resume", only_run(tmp_path), "--exit-by", "records", cwd=tmp_path)
    assert shown.returncode == 0
    assert "verdict: regressed (gate exit code 1)" in shown.stdout
    assert "records: 2 of 2 ok" in shown.stdout


def test_three_mistakes_are_three_errors_and_nothing_starts(tmp_path: Path) -> None:
    file = experiment(tmp_path, launches="two", reference=3)
    text = file.read_text(encoding="utf-8").replace("attention_dp", "attn_dp")
    file.write_text(text, encoding="utf-8")
    done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4  # the misspelt key is both unknown and missing under its right name
    assert all(str(file) in error for error in errors)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "nowhere.jsonl"}, r"jobs\.gsm8k\.data: .*nowhere\.jsonl"),
        ({"data": "empty.jsonl"}, r"jobs\.gsm8k\.data: .*empty\.jsonl"),
        ({"data": "column.jsonl"}, r"jobs\.gsm8k\.data: .*column\.jsonl.*question"),
        ({"examples": 4000}, r"jobs\.gsm8k.*4000"),
    ],
    ids=["missing file", "empty file", "wrong column", "more than there are"],
)
def test_bad_data_is_refused_with_its_name(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "column.jsonl").write_text('{"qestion": "a", "answer": "#### 1"}\n', "utf-8")
    file = experiment(tmp_path, jobs={"gsm8k": accuracy_job(**changes)}, gates={})
    for command in ("plan", "run"):
        done = servegate(command, file, cwd=tmp_path)
        assert done.returncode == 2
        assert re.search(expected, done.stderr, re.DOTALL), done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_missing_model_stops_a_run_and_is_noted_by_a_plan(tmp_path: Path) -> None:
    file = experiment(tmp_path, engine={"name": "sglang"}, model={"path": "./no-model"})
    ran = servegate("run", file, cwd=tmp_path)
    assert ran.returncode == 2
    assert "there is no folder ./no-model" in ran.stderr
    assert "smollm2-moe" in ran.stderr


def test_what_this_machine_lacks_comes_first_in_a_plan_and_doctor_ends_with_three(
    tmp_path: Path,
) -> None:
    file = experiment(
        tmp_path, engine={"name": "sglang", "python": "/nowhere/bin/python"},
        model={"path": "./no-model", "tokenizer": "./no-tokenizer"}, launches=3,
    )  # fmt: skip
    done = servegate("plan", file, cwd=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    lacking = [line for line in lines if line.startswith("cannot run here: ")]
    assert lines[: len(lacking)] == lacking
    for text in (
        "model.path: there is no folder ./no-model",
        "model.tokenizer: there is no folder ./no-tokenizer",
        "engine.python: there is no interpreter /nowhere/bin/python",
    ):
        assert len([line for line in lacking if text in line]) == 1
    document = servegate("plan", file, "--json", cwd=tmp_path)
    assert json.loads(document.stdout)["experiment"] == "tiny"
    assert "cannot run here: model.path" in document.stderr
    found = servegate("doctor", file, "--json", cwd=tmp_path)
    assert found.returncode == 3
    assert all(cell["reason"] for cell in json.loads(found.stdout)["cells"])


def test_a_plan_that_can_run_here_says_nothing_of_the_machine(tmp_path: Path) -> None:
    done = servegate("plan", experiment(tmp_path, launches=3), cwd=tmp_path)
    assert done.stdout.startswith("tiny: plan ")
    assert "cannot run here" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [("name:\tx\n\ta: 1\n", "a tab in the indentation"), ("name: x\nname: y\n", "stands twice")],
)
def test_bad_yaml_is_one_line_that_names_the_place(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text, encoding="utf-8")
    done = servegate("plan", file, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(rf"error: .*bad\.yaml:2: .*{expected}", done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run",), "give either an experiment's file or --resume RUN"),
        (("gate", "nowhere"), "plan.json: is missing; is this a run folder of servegate?"),
        (("report", "nowhere"), "plan.json: is missing"),
        (("run", "--resume", "nowhere"), "plan.json: is missing"),
        (("plan", "no.yaml"), "no.yaml: cannot be read"),
        (("frobnicate",), "No such command"),
        (("prepare-model", "gpt"), "unknown"),
    ],
)
def test_wrong_usage_ends_with_two(
    tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    done = servegate(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr


def test_a_damaged_record_is_named_and_never_judged(tmp_path: Path) -> None:
    file = experiment(tmp_path)
    servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    run = only_run(tmp_path)
    record = run / "launches/00-nccl-dp2/cells/latency/record.json"
    record.write_text(record.read_text(encoding="utf-8")[:100], encoding="utf-8")
    done = servegate("gate", run, cwd=tmp_path)
    assert done.returncode == 2
    assert "00-nccl-dp2/cells/latency/record.json: cannot be read" in done.stderr


@pytest.mark.parametrize("command", ["plan", "run", "report", "gate", "schema", "prepare-model"])
def test_every_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    done = servegate(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: servegate {command}" in " ".join(done.stdout.split())
