"""SGLang's own benchmark client, unchanged, measures the pace that the fake engine was told."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launchers.fake_engine.conftest import Serve

PROMPTS, OUTPUTS, TTFT_MS, ITL_MS = 16, 40, 100.0, 25.0


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A tokenizer of words, for no machine has to hold a real one."""
    # Comes with the engine, without which this file must still be collected.
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder = tmp_path / "tokenizer"
    folder.mkdir()
    words = {word: number for number, word in enumerate(["<unk>", *(f"w{n}" for n in range(500))])}
    made = Tokenizer(WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.engine
def test_the_bench_client_measures_the_schedule(
    serve: Serve, tmp_path: Path, tokenizer: Path
) -> None:
    out = tmp_path / "bench.jsonl"
    with serve({"ttft_ms": TTFT_MS, "itl_ms": ITL_MS}) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "sglang.benchmark.serving", "--backend", "sglang"),
                *("--base-url", server.base_url, "--model", "fake"),
                *("--tokenizer", str(tokenizer), "--dataset-name", "random-ids"),
                *("--random-input-len", "16", "--random-output-len", str(OUTPUTS)),
                *("--random-range-ratio", "1.0", "--num-prompts", str(PROMPTS)),
                *("--max-concurrency", "8", "--flush-cache", "--output-details"),
                *("--output-file", str(out)),
            ],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["completed"] == PROMPTS
    assert not any(result["errors"])
    assert result["total_output_tokens"] == PROMPTS * OUTPUTS
    assert result["server_info"]["version"].startswith("fake-")
    gaps = [gap for request in result["itls"] for gap in request]
    assert len(gaps) == PROMPTS * (OUTPUTS - 1)
    # On a busy machine late tokens come in bunches: gaps scatter, their mean stays.
    means = [statistics.mean(request) for request in result["itls"]]
    assert 1e3 * statistics.median(means) == pytest.approx(ITL_MS, abs=1.0)
    assert min(result["ttfts"]) * 1e3 >= TTFT_MS
