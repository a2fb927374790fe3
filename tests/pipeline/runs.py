"""Small experiments on the fake engine, run for real in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import psutil
import yaml
from typer.testing import CliRunner

from pipeline.cli.app import app


def _sum(n: int) -> dict[str, str]:
    total = 2 * n + 1
    worked = f"{n} + {n + 1} = <<{n}+{n + 1}={total}>>{total}."
    return {"question": f"What is {n} plus {n + 1}?", "answer": f"{worked}\n#### {total}"}


LATENCY = {
    "kind": "latency", "input_len": 8, "output_len": 6, "concurrency": 2, "prompts": 8,
    "deadline_s": 60,
}  # fmt: skip

QUESTIONS = [_sum(n) for n in range(2, 42)]


def experiment(folder: Path, **changes: Any) -> Path:
    """Two arms, one layout, a short latency job and forty sums; ``changes`` replace whole keys."""
    (folder / "questions.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8"
    )
    data: dict[str, Any] = {
        "name": "tiny",
        "model": {"path": "fake/model"},
        "engine": {"name": "fake", "fake": {"itl_ms": 20.0, "ttft_ms": 5.0, "accuracy": 0.8}},
        "server": {"ready_timeout_s": 30.0, "stop_timeout_s": 5.0},
        "layouts": [{"tp": 2, "attention_dp": [2]}],
        "arms": {"nccl": {"preset": "nccl"}, "other": {"preset": "nccl"}},
        "reference": "nccl",
        "jobs": {"latency": LATENCY},
        "gates": {"latency": {"median_itl_ms": {"margin": 0.2}}},
        **changes,
    }  # fmt: skip
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def accuracy_job(**changes: Any) -> dict[str, Any]:
    """The forty sums as a job."""
    return {
        "kind": "accuracy", "benchmark": "gsm8k", "data": "questions.jsonl", "max_tokens": 64,
        "concurrency": 8, "deadline_s": 60, **changes,
    }  # fmt: skip


def servegate(
    *args: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end: a run in a process of its own, as a user does.

    The other commands start nothing that outlives them, so they are called in this process, which
    saves a second each for imports. tests/pipeline/cli/test_entry.py tests the console script.
    """
    if args[0] != "run" and env is None:
        with chdir(cwd):
            result = CliRunner().invoke(app, [str(word) for word in args], catch_exceptions=False)
        return subprocess.CompletedProcess(args, result.exit_code, result.stdout, result.stderr)
    return in_a_process(*args, cwd=cwd, env=env, timeout=timeout)


def in_a_process(
    *args: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        command(*args), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


def command(*args: str | Path, refuse_impossible: bool = False) -> list[str]:
    """The command line; a run may have gates that its few launches and questions cannot decide."""
    words = [sys.executable, "-P", "-m", "pipeline", *map(str, args)]
    if args[0] == "run" and "--resume" not in args and not refuse_impossible:
        words.append("--allow-impossible")
    return words


def only_run(folder: Path) -> Path:
    """The one run folder below ``folder/runs``."""
    (run,) = (folder / "runs").glob("*/*")
    return run


def records(run: Path) -> dict[str, dict[str, Any]]:
    """Every record of a run by cell, the current ones only."""
    found = {}
    for path in sorted(run.glob("launches/*/cells/*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record["cell"]] = record
    return found


def processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that carry ``folder`` in their environment or arguments."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            text = " ".join(process.cmdline()) + process.environ().get("SERVEGATE_WITNESS_DIR", "")
        except psutil.Error:
            continue
        if str(folder) in text:
            found.append(" ".join(process.cmdline()))
    return found
