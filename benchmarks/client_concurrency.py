"""How full the accuracy client keeps a server.

Usage: python -m benchmarks.client_concurrency [CONCURRENCY]

The fake engine answers each question after a third of a second, so that the pace is the client's.
The figure is the requests in flight, averaged until nothing is left to ask, over those that were
asked for: 1 would be a server that never waits. A thread of the client needs some milliseconds
from an answer to its next question; a model's answers take seconds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from evals import JOBS
from evals.job import Endpoint

LIMIT = 0.9
QUESTIONS = 1319


def main(concurrency: int = 64) -> int:
    """Ask all questions once; returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            {"question": f"What is {n} plus {n + 1}?", "answer": f"#### {2 * n + 1}"}
            for n in range(QUESTIONS)
        ]
        data = folder / "test.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found = _asked(folder, data, concurrency)
    share = found / concurrency
    good = share >= LIMIT
    print(f"  {found:.2f} of {concurrency} requests in flight over {QUESTIONS} questions")
    print(
        f"benchmark client_concurrency: {share:.3f} (limit {LIMIT:g}) "
        f"{'holds' if good else 'falls short'}"
    )
    return 0 if good else 1


def _asked(folder: Path, data: Path, concurrency: int) -> float:
    """Requests in flight, from the answers' own times."""
    job = JOBS["accuracy"]
    settings = job.settings_type.model_validate(
        {
            "kind": "accuracy", "benchmark": "gsm8k", "data": str(data),
            "concurrency": concurrency, "max_tokens": 64,
        }
    )  # fmt: skip
    told = {"answers_file": [str(data)], "answer_ttft_ms": 330.0, "answer_itl_ms": 1.0}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "launchers.fake_engine", "--fake", json.dumps(told)]
    server = subprocess.Popen(
        [*argv, "--model-path", "fake", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    cell = folder / "cell"
    cell.mkdir()
    endpoint = Endpoint(
        base_url=url, model="fake", tokenizer="fake", engine="fake", python=sys.executable
    )
    try:
        _wait(url)
        subprocess.run(
            job.argv(settings, endpoint, cell),
            env={**os.environ, **job.env(settings, endpoint)},
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait(timeout=10)
    outcome = job.read(settings, cell, 0)
    assert outcome.status == "ok", outcome.reason
    return float(outcome.details["in_flight"])


def _wait(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError(f"no server at {url} within 60 s")


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:])))
