"""What the accuracy job refuses at plan time, what it runs, and how it reads a cell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evals import JOBS
from evals.accuracy.files import ANSWERS, FAILURE, PROTOCOL
from evals.accuracy.job import BENCHMARKS, AccuracySettings
from evals.job import Endpoint, Outcome
from evals.metrics import METRICS
from tests.evals.accuracy.test_grades import answer

JOB = JOBS["accuracy"]
Change = Callable[[Path], object]
ENDPOINT = Endpoint(
    base_url="http://127.0.0.1:1", model="m", tokenizer="t", engine="fake", python="py"
)


def _settings(**changes: object) -> AccuracySettings:
    return AccuracySettings.model_validate({"kind": "accuracy", "benchmark": "gsm8k"} | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"question": f"q{n}", "answer": f"#### {n}"} for n in range(4)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shots = [{"question": f"s{n}", "answer": f"#### {n}"} for n in range(2)]
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shots))
    return tmp_path


def test_the_benchmarks_are_those_of_the_installed_sgl_eval() -> None:
    from sgl_eval.registry import list_evals

    named = {spec.name for spec in list_evals()}
    assert set(BENCHMARKS) == named - {"ruler2"}  # ruler2 needs arguments of its own


def test_the_studys_settings_are_sound(folder: Path) -> None:
    gsm8k = _settings(
        data=str(folder), temperature=0.6, top_p=0.95, top_k=20, max_tokens=10240, few_shot=2,
        concurrency=100,
    )  # fmt: skip
    assert JOB.check(gsm8k) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": "gsm9k"}, "benchmark: unknown 'gsm9k'; choose one of aime24"),
        ({"repeats": 4}, "repeats: 4 repeats at temperature 0"),
        ({"repeats": 2, "temperature": 0.5, "seed": 1}, "seed: every repeat"),
        ({"examples": 5}, "data: examples is 5 but"),
        ({"few_shot": 3}, "shots: few_shot is 3 but"),
        ({"few_shot": 1, "shots": "{folder}/test.jsonl"}, "shots: 1 of the worked examples"),
        ({"few_shot": 1, "prompt": "mcq-4choices"}, "few_shot: the prompt 'mcq-4choices' has no"),
        ({"prompt": "{folder}/none.yaml"}, "prompt: "),
        ({"data": "{folder}/none.jsonl"}, "data: "),
        ({"benchmark": "gpqa"}, "no column 'Question', 'Correct Answer'"),
        ({"benchmark": "mmmu_pro"}, "data: mmmu_pro has images"),
        ({"stop": [""]}, "stop: an empty text"),
        (
            {"api": "completion", "few_shot": 1, "prompt": "question-answer"},
            'behind the answer; give the text that begins one, here stop: ["Question:"]',
        ),
        (
            {"api": "completion", "few_shot": 2},
            'here stop: ["Problem:"]',
        ),
    ],
)
def test_a_mistake_is_found_before_anything_starts(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    filled = {
        key: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
        for key, value in changes.items()
    }
    problems = JOB.check(_settings(**{"data": str(folder), **filled}))
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert "\n" not in problems[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"few_shot": 2, "stop": ["Question:"]},
        {"few_shot": 2, "stop": ["\n\n"]},
        {"few_shot": 2, "api": "chat"},
        {"few_shot": 0},
    ],
)
def test_only_worked_examples_of_a_completion_need_a_stop(
    folder: Path, changes: dict[str, Any]
) -> None:
    given = {"data": str(folder), "api": "completion", "prompt": "question-answer"}
    assert JOB.check(_settings(**given | changes)) == []


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    settings = _settings(
        data=str(folder / "no"), repeats=2, prompt="nothing", few_shot=1, shots=str(folder / "no")
    )
    keys = [problem.split(":")[0] for problem in JOB.check(settings)]
    assert keys == ["repeats", "data", "shots", "prompt"]


def test_a_gated_set_without_token_is_missing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    settings = _settings(benchmark="gpqa")
    assert JOB.check(settings) == []  # another machine may have it: a plan only notes it
    (problem,) = JOB.missing(settings)
    assert problem.startswith("data: cannot load Idavidrein/gpqa, which is gated")


@pytest.mark.parametrize(
    "changes",
    [
        {"examples": 0},
        {"temperatur": 1.0},
        {"repeats": "2"},
        {"max_error_rate": 1.0},
        {"top_p": 0.0},
        {"concurrency": 0},
    ],
)
def test_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _settings(**changes)


def test_the_name_is_the_benchmark_unless_another_is_given() -> None:
    assert JOB.defaults("gpqa", {"kind": "accuracy"})["benchmark"] == "gpqa"
    assert JOB.defaults("hard", {"benchmark": "gpqa"})["benchmark"] == "gpqa"


def test_file_names_become_absolute_and_prompt_names_stay() -> None:
    base = Path("/exp")
    told = _settings(data="data/x", shots="../s.jsonl", prompt="question-answer")
    resolved = JOB.resolve(told, base)
    assert isinstance(resolved, AccuracySettings)
    assert (resolved.data, resolved.shots) == ("/exp/data/x", "/s.jsonl")
    assert resolved.prompt == "question-answer"
    told = _settings(prompt="mine.yaml")
    resolved = JOB.resolve(told, base)
    assert isinstance(resolved, AccuracySettings)
    assert (resolved.data, resolved.prompt) == (None, "/exp/mine.yaml")


def test_the_command_holds_every_setting(tmp_path: Path) -> None:
    settings = _settings(top_k=20, stop=["Q:"])
    argv = JOB.argv(settings, ENDPOINT, tmp_path)
    assert argv[:4] == [sys.executable, "-P", "-m", "evals.accuracy.client"]
    written = argv[argv.index("--settings") + 1]
    assert AccuracySettings.model_validate_json(written) == settings
    assert argv[argv.index("--out") + 1] == str(tmp_path)


def test_importing_evals_loads_nothing_slow() -> None:
    slow = {"sgl_eval", "openai", "pandas", "datasets", "pyarrow", "numpy", "torch", "sglang"}
    code = f"import evals, sys; print(sorted({slow} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert out.stdout.strip() == "[]"


def _cell(cell: Path, **changes: object) -> Path:
    content = {
        "schema_version": 1, "benchmark": "gsm8k", "source": "s", "data_sha256": "d", "rows": 9,
        "examples": 2, "repeats": 2, "concurrency": 1, "generation": {}, "few_shot": 0,
        "prompt": "p", "sgl_eval": "0", "grader": "g", "ids_digest": "i", "questions_digest": "q",
        "protocol_digest": "x", "ids": ["a", "b"],
    }  # fmt: skip
    (cell / PROTOCOL).write_text(json.dumps(content | changes))
    marks = [answer(key, repeat, "correct") for key in "ab" for repeat in (0, 1)]
    (cell / ANSWERS).write_text("".join(one.model_dump_json() + "\n" for one in marks))
    return cell


def _read(cell: Path, returncode: int = 0) -> Outcome:
    return JOB.read(_settings(), cell, returncode)


def test_a_whole_cell_is_ok_and_its_metrics_are_in_the_table(tmp_path: Path) -> None:
    outcome = _read(_cell(tmp_path))
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert outcome.metrics["score"] == 1.0
    assert set(outcome.metrics) <= set(METRICS)
    assert set(JOB.gated) <= set(outcome.metrics)
    assert outcome.counts["missing"] == 0
    assert outcome.details["protocol_digest"] == "x"
    assert outcome.artifacts == {"answers": ANSWERS, "protocol": PROTOCOL}


def _append(name: str, text: str) -> Change:
    def change(cell: Path) -> None:
        with (cell / name).open("a") as file:
            file.write(text)

    return change


def _cut_answers(cell: Path) -> None:
    whole = (cell / ANSWERS).read_bytes()
    (cell / ANSWERS).write_bytes(whole[:-30])


@pytest.mark.parametrize(
    ("change", "returncode", "status", "failure_class", "reason"),
    [
        (_cut_answers, 0, "invalid", "incomplete", "1 planned samples have no answer"),
        (_cut_answers, -9, "invalid", "incomplete", "ended with code -9"),
        (lambda _: None, 1, "invalid", "client-exit", "all answers are there"),
        (
            _append(ANSWERS, answer("a", 0, "wrong").model_dump_json() + "\n"),
            0, "failed", "bad-output", "twice: a repeat 0",
        ),
        (
            _append(ANSWERS, answer("c", 0, "wrong").model_dump_json() + "\n"),
            0, "failed", "bad-output", "not planned or are there twice: c repeat 0",
        ),
        (_append(ANSWERS, "{}\n"), 0, "failed", "bad-output", "answers.jsonl:5"),
        (lambda c: (c / ANSWERS).unlink(), 0, "failed", "no-output", "left no answers.jsonl"),
        (lambda c: (c / ANSWERS).write_text(""), 1, "failed", "client-exit", "code 1"),
        (lambda c: (c / PROTOCOL).unlink(), 0, "failed", "no-output", "left no protocol.json"),
        (lambda c: (c / PROTOCOL).write_text("{"), 0, "failed", "bad-output", "cannot be read"),
        (lambda c: (c / PROTOCOL).write_text("{}"), 0, "failed", "bad-output", "protocol.json"),
        (lambda c: (c / FAILURE).write_text("[1]"), 1, "invalid", "client-exit", "code 1"),
        (
            lambda c: (c / FAILURE).write_text('{"class": "server-dead", "reason": "gone"}'),
            3, "invalid", "server-dead", "gone; 0 planned samples",
        ),
    ],
)  # fmt: skip
def test_anything_less_does_not_count(
    tmp_path: Path, change: Change, returncode: int, status: str, failure_class: str, reason: str
) -> None:
    change(_cell(tmp_path))
    outcome = _read(tmp_path, returncode)
    assert (outcome.status, outcome.failure_class) == (status, failure_class)
    assert reason in outcome.reason


def test_an_empty_cell_is_a_failure(tmp_path: Path) -> None:
    assert _read(tmp_path, 1).failure_class == "client-exit"
    assert _read(tmp_path, 0).failure_class == "no-output"
    progress = JOB.progress(_settings(examples=7, repeats=1), tmp_path)
    assert (progress.done, progress.total) == (0, 7)


def test_errors_alone_have_no_score(tmp_path: Path) -> None:
    _cell(tmp_path)
    marks = [answer(key, repeat, "error") for key in "ab" for repeat in (0, 1)]
    (tmp_path / ANSWERS).write_text("".join(one.model_dump_json() + "\n" for one in marks))
    outcome = JOB.read(_settings(max_error_rate=0.99), tmp_path, 0)
    assert (outcome.status, outcome.failure_class, outcome.metrics) == ("invalid", "errors", {})
