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
from evals.latency.client_load import STARVED, read_lag
from evals.latency.job import LatencySettings, plain_argv
from evals.latency.outcome import bench_file, lag_file
from tests.evals.fake import fake_engine

JOB = JOBS["latency"]


def _settings(**changes: object) -> LatencySettings:
    given = {"kind": "latency", "input_len": 8192, "output_len": 24, "concurrency": 16}
    return LatencySettings.model_validate(given | changes)


def _endpoint(engine: str = "sglang", base_url: str = "http://127.0.0.1:8000") -> Endpoint:
    return Endpoint(
        base_url=base_url, model="served", tokenizer="/m", engine=engine, python="/venv/python"
    )


def test_a_user_types_the_tools_own_command(tmp_path: Path) -> None:
    settings = _settings(extra_args={"lora-zipf-alpha": 2, "print-requests": True, "top-p": None})
    argv = plain_argv(settings, _endpoint(), tmp_path / "bench-1.jsonl")
    assert argv == [
        "/venv/python", "-m", "sglang.benchmark.serving", "--backend", "sglang",
        "--base-url", "http://127.0.0.1:8000", "--model", "/m", "--served-model-name", "served",
        "--tokenizer", "/m", "--dataset-name", "random-ids", "--random-input-len", "8192",
        "--random-output-len", "24", "--random-range-ratio", "1.0", "--max-concurrency", "16",
        "--num-prompts", "16", "--request-rate", "inf", "--warmup-requests", "1", "--seed", "0",
        "--output-details", "--flush-cache", "--lora-zipf-alpha", "2", "--print-requests",
        "--output-file", str(tmp_path / "bench-1.jsonl"),
    ]  # fmt: skip


@pytest.mark.parametrize("runs", [1, 3])
def test_all_runs_share_a_process_and_the_tools_flags(tmp_path: Path, runs: int) -> None:
    plain = plain_argv(_settings(), _endpoint(), tmp_path / "bench-1.jsonl")
    argv = JOB.argv(_settings(runs=runs), _endpoint(), tmp_path)
    at = argv.index("--")
    assert argv[0] == "/venv/python"
    assert Path(argv[1]).name == "sglang_runner.py"
    assert argv[2:at] == ["--runs", str(runs), "--output", str(tmp_path / "bench-{run}.jsonl")]
    assert argv[at + 1 :] == plain[3:-2]


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


def _sglang(tmp_path: Path, serving: str) -> dict[str, str]:
    """The environment in which a stand-in for sglang's benchmark is imported."""
    package = tmp_path / "lib" / "sglang" / "benchmark"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "serving.py").write_text(serving)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}


_CALLED = """
import json, sys
def cli_main():
    file = sys.argv[sys.argv.index("--output-file") + 1]
    open(file, "a").write(json.dumps([sys.argv, sys.path]) + chr(10))
"""


def test_several_runs_call_the_tools_command_line_each_time(tmp_path: Path) -> None:
    """With a stand-in for sglang that writes down how it was called."""
    engine = Endpoint(
        base_url="http://h:1", model="m", tokenizer="t", engine="sglang", python=sys.executable
    )
    argv = JOB.argv(_settings(runs=2), engine, tmp_path)
    env = _sglang(tmp_path, _CALLED)
    subprocess.run(argv, env=env, check=True, timeout=60, capture_output=True)
    single = plain_argv(_settings(), engine, tmp_path / "bench-1.jsonl")
    for run in (1, 2):
        called, path = json.loads((tmp_path / f"bench-{run}.jsonl").read_text())
        assert called[1:-1] == single[3:-1]
        assert called[-1] == str(tmp_path / f"bench-{run}.jsonl")
        assert not any(Path(folder).name == "evals" for folder in path)
        assert not lag_file(tmp_path, run).exists()  # this stand-in has no loop to sample


# As benchmark() of SGLang: warm-up, then the requests, then what they come to.
_BLOCKS = """
import asyncio, sys, time
async def get_request():
    yield 1
def calculate_metrics(seconds):
    return seconds
async def benchmark(blocked_s):
    time.sleep(0.3)  # warm-up and flush, before anything is measured
    async for _ in get_request():
        pass
    for _ in range(10):
        await asyncio.sleep(0.02)
        time.sleep(blocked_s)
    calculate_metrics(1)
def cli_main():
    asyncio.run(benchmark(float(sys.argv[1])))
"""


def test_the_loop_lag_of_the_tools_process_is_sampled(tmp_path: Path) -> None:
    """A loop that is blocked for 80 of 100 ms is late by 32 ms on average: 80 % of 40 ms."""
    env = _sglang(tmp_path, _BLOCKS)
    runner = JOB.argv(_settings(runs=2), _endpoint(), tmp_path)[1]
    for run, blocked_s in ((1, "0.08"), (2, "0")):
        output = str(bench_file(tmp_path, run))
        argv = [sys.executable, runner, "--runs", "1", "--output", output, "--", blocked_s]
        subprocess.run(argv, env=env, check=True, timeout=60, capture_output=True)
    blocked, free = (read_lag(lag_file(tmp_path, run)) for run in (1, 2))
    assert blocked is not None
    assert blocked.samples > 150  # one every 5 ms, for a second
    assert 25 < blocked.mean_ms < 60  # never less; more where the machine is busy besides
    assert 75 < blocked.max_ms < 250  # the warm-up's 300 ms are not in it
    assert free is not None
    assert free.mean_ms < blocked.mean_ms / 2


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
            if outcome.failure_class == STARVED:
                continue
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
