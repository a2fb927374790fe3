"""Both jobs against the shipped fake engine; and SGLang's own benchmark beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evals import JOBS
from evals.job import Endpoint, JobSettings, Outcome
from tests.evals.fake import fake_engine

REPOSITORY = Path(__file__).parents[3]
DATA = REPOSITORY / "experiments" / "data"


def _run(kind: str, url: str, cell: Path, *, tokenizer: str = "t", **told: object) -> Outcome:
    job = JOBS[kind]
    settings: JobSettings = job.settings_type.model_validate({"kind": kind, **told})
    assert job.check(settings) == []
    endpoint = Endpoint(
        base_url=url, model="fake", tokenizer=tokenizer, engine="fake", python=sys.executable
    )
    cell.mkdir()
    with (cell / "job.log").open("wb") as log:
        done = subprocess.run(
            job.argv(settings, endpoint, cell), env={**os.environ, **job.env(settings, endpoint)},
            stdout=log, stderr=log, timeout=300, check=False,
        )  # fmt: skip
    outcome = job.read(settings, cell, done.returncode)
    assert outcome.status == "ok", f"{outcome.reason}\n{(cell / 'job.log').read_text()}"
    return outcome


@pytest.mark.parametrize("benchmark", ["gsm8k", "gpqa"])
def test_accuracy_of_a_perfect_and_of_a_wrong_engine(tmp_path: Path, benchmark: str) -> None:
    data = DATA / f"{benchmark}-mini"
    told: dict[str, Any] = {"benchmark": benchmark, "data": str(data), "examples": 30}
    scores = {}
    for accuracy in (1.0, 0.0):
        log = tmp_path / f"server-{accuracy}.log"
        with fake_engine(log, accuracy=accuracy, answers_file=[str(data / "test.jsonl")]) as url:
            outcome = _run("accuracy", url, tmp_path / f"cell-{accuracy}", **told)
        assert outcome.counts["samples"] == 30
        scores[accuracy] = outcome.metrics["score"]
    assert scores == {1.0: 1.0, 0.0: 0.0}


@pytest.mark.engine
@pytest.mark.parametrize("runs", [1, 2])
def test_sglangs_benchmark_and_ours_agree_on_an_exact_schedule(
    tmp_path: Path, runs: int, tokenizer_folder: Path
) -> None:
    load: dict[str, Any] = {
        "input_len": 32, "output_len": 16, "concurrency": 4, "prompts": 8, "runs": runs,
        "tokenize_prompt": True,
    }  # fmt: skip
    found = {}
    with fake_engine(tmp_path / "server.log", ttft_ms=100, itl_ms=40) as url:
        for client in ("auto", "sglang"):
            found[client] = _run(
                "latency", url, tmp_path / client, client=client,
                tokenizer=str(tokenizer_folder), **load,
            )  # fmt: skip
    ours, theirs = found["auto"], found["sglang"]
    assert ours.details["client"] != theirs.details["client"]
    assert ours.counts == theirs.counts
    assert set(ours.metrics) == set(theirs.metrics)
    # Ours writes down when it sent a request; of SGLang's it is worked out.
    for outcome in (ours, theirs):
        for window in outcome.details["full_batch"]:
            assert 4 * 24 <= window["gaps"] <= 4 * 30
    times = ("median_itl_ms", "median_tpot_ms", "p90_itl_ms", "steady_itl_ms")
    for name, expected in ((name, 40.0) for name in times):
        assert ours.metrics[name] == pytest.approx(expected, rel=0.1), name
        assert theirs.metrics[name] == pytest.approx(expected, rel=0.1), name
    assert ours.metrics["median_ttft_ms"] == pytest.approx(theirs.metrics["median_ttft_ms"], abs=40)
    assert ours.metrics["median_e2e_ms"] == pytest.approx(theirs.metrics["median_e2e_ms"], rel=0.05)


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    """A word-level tokenizer of 1000 words, enough for a benchmark of random tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{n}": n for n in range(1000)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "tokenizer"
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)
    return folder
