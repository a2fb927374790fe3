from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evals import JOBS
from evals.job import Endpoint, Outcome
from evals.latency.job import LatencySettings
from tests.evals.fake import fake_engine

JOB = JOBS["latency"]


def _settings(**changes: object) -> LatencySettings:
    given = {"kind": "latency", "input_len": 8192, "output_len": 24, "concurrency": 16}
    return LatencySettings.model_validate(given | changes)


def _endpoint(engine: str = "sglang", base_url: str = "http://127.0.0.1:8000") -> Endpoint:
    return Endpoint(
        base_url=base_url, model="served", tokenizer="/m", engine=engine, python="/venv/python"
    )


def test_one_run_is_the_tools_own_command(tmp_path: Path) -> None:
    argv = JOB.argv(_settings(extra_args={"lora-zipf-alpha": 2, "print-requests": True,
                                          "top-p": None}), _endpoint(), tmp_path)  # fmt: skip
    assert argv == [
        "/venv/python", "-m", "sglang.benchmark.serving", "--backend", "sglang",
        "--base-url", "http://127.0.0.1:8000", "--model", "/m", "--served-model-name", "served",
        "--tokenizer", "/m", "--dataset-name", "random-ids", "--random-input-len", "8192",
        "--random-output-len", "24", "--random-range-ratio", "1.0", "--max-concurrency", "16",
        "--num-prompts", "16", "--request-rate", "inf", "--warmup-requests", "1", "--seed", "0",
        "--output-details", "--flush-cache", "--lora-zipf-alpha", "2", "--print-requests",
        "--output-file", str(tmp_path / "bench-1.jsonl"),
    ]  # fmt: skip


def test_more_runs_share_a_process_and_its_flags(tmp_path: Path) -> None:
    one = JOB.argv(_settings(), _endpoint(), tmp_path)
    many = JOB.argv(_settings(runs=3), _endpoint(), tmp_path)
    at = many.index("--")
    assert many[0] == "/venv/python"
    assert Path(many[1]).name == "bench_runs.py"
    assert many[2:at] == ["--runs", "3", "--output", str(tmp_path / "bench-{run}.jsonl")]
    assert many[at + 1 :] == one[3:-2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": 8}, "prompts: 8 requests never put 16 in flight"),
        ({"drop_first_run": True}, "drop_first_run: the only run"),
        ({"extra_args": {"seed": 3}}, "extra_args.seed: has a setting of its own"),
        ({"extra_args": {"--num_prompts": 3}}, "extra_args.--num_prompts: has a setting"),
        ({"extra_args": {"--top-p": 0.5}}, "extra_args.--top-p: write it without the dashes"),
        ({"dataset": "random"}, "dataset_path: needed by the dataset random"),
        ({"dataset_path": "/x"}, "dataset_path: the dataset random-ids reads no file"),
        ({"dataset": "random", "dataset_path": "/none"}, "/none does not exist"),
    ],
)
def test_a_mistake_is_found_before_anything_starts(changes: dict[str, Any], message: str) -> None:
    (problem,) = JOB.check(_settings(**changes))
    assert message in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}x", "is not a JSON list"),
        ("[1]", "is not a JSON list"),
        ('[{"conversations": [1]}, {"conversations": [1, 2]}]', "has 1 conversations of two"),
    ],
)
def test_a_share_gpt_file_is_looked_into(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "s.json").write_text(content)
    settings = _settings(dataset="random", dataset_path="s.json")
    (problem,) = JOB.check(JOB.resolve(settings, tmp_path))
    assert message in problem


def test_the_study_and_a_share_gpt_file_are_sound(tmp_path: Path) -> None:
    assert JOB.check(_settings()) == []
    rows = [{"conversations": [{"value": "a"}, {"value": "b"}]}] * 16
    (tmp_path / "s.json").write_text(json.dumps(rows))
    settings = _settings(dataset="random", dataset_path=str(tmp_path / "s.json"))
    assert JOB.check(settings) == []


@pytest.mark.parametrize(
    "changes", [{"output_len": 1}, {"range_ratio": 0.0}, {"runs": 0}, {"client": "builtin"}]
)
def test_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _settings(**changes)


def _measure(settings: LatencySettings, engine: Endpoint, cell: Path) -> Outcome:
    cell.mkdir()
    with (cell / "job.log").open("wb") as log:
        done = subprocess.run(
            JOB.argv(settings, engine, cell), env={**os.environ, **JOB.env(settings, engine)},
            stdout=log, stderr=log, timeout=300, check=False,
        )  # fmt: skip
    return JOB.read(settings, cell, done.returncode)


def test_the_builtin_client_measures_the_fake_engines_schedule(tmp_path: Path) -> None:
    settings = _settings(input_len=32, output_len=12, concurrency=4, prompts=8, runs=2)
    with fake_engine(tmp_path / "server.log", ttft_ms=60, itl_ms=25) as url:
        outcome = _measure(settings, _endpoint("fake", url), tmp_path / "cell")
    assert outcome.status == "ok", outcome.reason
    assert outcome.details["client"] == "evals.bench_client"
    assert outcome.counts == {
        "runs": 2, "requests": 16, "completed": 16, "errors": 0, "output_tokens": 192,
        "itls": 2 * 8 * 11,
    }  # fmt: skip
    # Tokens are never early; how late they are depends on the machine, which others may load.
    assert outcome.metrics["median_itl_ms"] == pytest.approx(25, rel=0.2)
    assert outcome.metrics["median_ttft_ms"] > 59
    assert outcome.metrics["median_e2e_ms"] > 59 + 11 * 25 - 1
    progress = JOB.progress(settings, tmp_path / "cell")
    assert (progress.done, progress.total) == (2, 2)


def test_failed_requests_are_counted_and_spoil_the_cell(tmp_path: Path) -> None:
    settings = _settings(input_len=8, output_len=4, concurrency=4, prompts=8, warmup_requests=0)
    faults = [{"kind": "http_500_every", "every": 4}]
    with fake_engine(tmp_path / "server.log", itl_ms=1, faults=faults) as url:
        outcome = _measure(settings, _endpoint("fake", url), tmp_path / "cell")
    assert (outcome.status, outcome.failure_class) == ("invalid", "errors")
    assert "6 of 8 requests completed" in outcome.reason
    assert "HTTP 500" in outcome.reason
    assert outcome.counts["errors"] == 2


def test_no_server_is_a_failed_cell(tmp_path: Path) -> None:
    outcome = _measure(_settings(), _endpoint("fake", "http://127.0.0.1:9"), tmp_path / "cell")
    assert (outcome.status, outcome.failure_class) == ("failed", "client-exit")
    assert "warm-up failed" in (tmp_path / "cell" / "job.log").read_text()


def test_several_runs_call_the_tools_command_line_each_time(tmp_path: Path) -> None:
    """With a stand-in for sglang that writes down how it was called."""
    package = tmp_path / "lib" / "sglang" / "benchmark"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "serving.py").write_text(
        "import json, sys\n"
        "def cli_main():\n"
        "    file = sys.argv[sys.argv.index('--output-file') + 1]\n"
        "    open(file, 'a').write(json.dumps([sys.argv, sys.path]) + '\\n')\n"
    )
    engine = Endpoint(
        base_url="http://h:1", model="m", tokenizer="t", engine="sglang", python=sys.executable
    )
    argv = JOB.argv(_settings(runs=2), engine, tmp_path)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    subprocess.run(argv, env=env, check=True, timeout=60, capture_output=True)
    single = JOB.argv(_settings(), engine, tmp_path)
    for run in (1, 2):
        called, path = json.loads((tmp_path / f"bench-{run}.jsonl").read_text())
        assert called[1:-1] == single[3:-1]
        assert called[-1] == str(tmp_path / f"bench-{run}.jsonl")
        assert not any(Path(folder).name == "evals" for folder in path)


_ATTEMPTS = 8  # other programs on the machine move a median by a few percent; the tool must not


def test_the_median_itl_of_a_known_schedule_is_within_one_percent(tmp_path: Path) -> None:
    """10 ms a token at concurrency 16; the full batch is told apart, and agrees."""
    settings = _settings(
        input_len=16, output_len=128, concurrency=16, waves=2, goodput={"tpot_ms": 12.0}
    )
    seen = []
    with fake_engine(tmp_path / "server.log", ttft_ms=20, itl_ms=10) as url:
        for attempt in range(_ATTEMPTS):
            outcome = _measure(settings, _endpoint("fake", url), tmp_path / f"cell-{attempt}")
            assert outcome.status == "ok", outcome.reason
            assert outcome.counts["requests"] == 32
            assert outcome.metrics["slo_attainment"] == 100
            (window,) = outcome.details["full_batch"]
            assert 230 < window["decode_steps"] <= 254  # two waves of 127 gaps, less the edges
            # Tokens are due at fixed times, so that a late one makes the next gap shorter.
            assert outcome.metrics["median_tpot_ms"] == pytest.approx(10, rel=0.02)
            seen.append((outcome.metrics["median_itl_ms"], outcome.metrics["steady_itl_ms"]))
            if all(abs(value - 10) <= 0.1 for value in seen[-1]):
                return
    pytest.fail(f"no median within 1 % of 10 ms: {seen}")
