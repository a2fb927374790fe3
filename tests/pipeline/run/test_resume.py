"""Answers survive a kill, and a run that goes on asks only what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from evals.accuracy.files import ANSWERS, PROTOCOL
from evals.accuracy.resume import carried, carry_over
from tests.pipeline.runs import (
    accuracy_job,
    command,
    experiment,
    only_run,
    processes_of,
    records,
    servegate,
)

# Eight requests of half a second each at once: forty questions take some three seconds.
PACE = {"accuracy": 0.8, "answer_ttft_ms": 300.0, "answer_itl_ms": 30.0}


def begun(folder: Path, how: signal.Signals, **arm: Any) -> Path:
    """A run that was ended so after a dozen of its answers."""
    file = experiment(
        folder,
        engine={"name": "fake", "fake": PACE},
        jobs={"gsm8k": accuracy_job(concurrency=4, repeats=2, temperature=0.5)},
        arms={"nccl": {"preset": "nccl"}, "other": {"preset": "mixed-comm", **arm}},
        reference="other",
        gates={"gsm8k": {"score": {"margin": 0.3}}},
    )
    process = subprocess.Popen(
        command("run", file, "--out", folder / "runs"), cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 60
    while len(lines(folder, "*-other-*")) < 12:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, how)
    process.wait(timeout=60)
    end = time.monotonic() + 30  # of a killed run, server and client end by themselves
    while processes_of(folder):
        assert time.monotonic() < end
        time.sleep(0.05)
    return only_run(folder)


def lines(folder: Path, launch: str) -> list[dict[str, Any]]:
    found = list(folder.glob(f"runs/*/*/launches/{launch}/cells/gsm8k/{ANSWERS}"))
    return [json.loads(line) for path in found for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_goes_on_asks_only_what_is_missing(tmp_path: Path, how: signal.Signals) -> None:
    run = begun(tmp_path, how)
    before = lines(tmp_path, "*-other-*")
    assert 12 <= len(before) < 80
    resumed_at = time.time()
    done = servegate("run", "--resume", run, cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    after = lines(tmp_path, "*-other-*")
    assert len({(row["id"], row["repeat"]) for row in after}) == len(after) == 80
    assert after[: len(before)] == before  # carried over word for word, in front
    assert all(row["started_at"] > resumed_at for row in after[len(before) :])
    [record] = [r for r in records(run).values() if r["arm"] == "other"]
    assert record["status"] == "ok"
    assert record["attempt"] == 2
    assert record["details"]["carried"] == len(before)
    right = [row["mark"] == "correct" for row in after]
    assert record["metrics"]["score"] == pytest.approx(sum(right) / 80)
    events = (run / "events.jsonl").read_text("utf-8")
    assert f'"answers": {len(before)}' in events


def test_answers_of_an_arm_that_did_not_run_what_it_claims_are_asked_anew(tmp_path: Path) -> None:
    """One rank passed calls through: found when the cell ends, and it never ended."""
    faulty = {"faults": [{"kind": "rank_passes_through", "rank": 1}]}
    run = begun(tmp_path, signal.SIGKILL, fake=faulty)
    servegate("run", "--resume", run, cwd=tmp_path)
    assert '"event": "answers_left"' in (run / "events.jsonl").read_text("utf-8")
    [record] = [r for r in records(run).values() if r["arm"] == "other"]
    assert (record["status"], record["failure_class"]) == ("invalid", "premise")
    assert record["details"]["carried"] == 0


def cell(folder: Path, name: str, rows: list[dict[str, Any]], digest: str = "p") -> Path:
    """A cell's folder as a client leaves it."""
    root = folder / name
    root.mkdir()
    protocol = {
        "benchmark": "gsm8k", "source": "s", "data_sha256": "d", "rows": 3, "examples": 3,
        "repeats": 1, "concurrency": 1, "generation": {}, "few_shot": 0, "prompt": "",
        "sgl_eval": "0", "grader": "g", "ids_digest": "i", "questions_digest": "q",
        "protocol_digest": digest, "ids": ["a", "b", "c"],
    }  # fmt: skip
    (root / PROTOCOL).write_text(json.dumps(protocol), "utf-8")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (root / ANSWERS).write_text(text + '{"id": "cut', "utf-8")
    return root


def row(key: str, mark: str) -> dict[str, Any]:
    return {
        "id": key, "repeat": 0, "mark": mark, "expected": "1", "extracted": "1",
        "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1, "started_at": 1.0,
        "ended_at": 2.0, "question": "?", "response": "1", "level": None,
    }  # fmt: skip


def test_failed_requests_and_cut_lines_are_left_behind(tmp_path: Path) -> None:
    old = cell(tmp_path, "old", [row("a", "correct"), row("b", "error")])
    new = tmp_path / "new"
    new.mkdir()
    assert carry_over(old, new) == 1
    (new / PROTOCOL).write_bytes((old / PROTOCOL).read_bytes())
    assert [one.id for one in carried(new)] == ["a"]
    # Broken off again before anything was asked: what was carried is carried on.
    (new / ANSWERS).unlink(missing_ok=True)
    third = tmp_path / "third"
    third.mkdir()
    (new / PROTOCOL).unlink()
    assert carry_over(new, third) == 1


def test_answers_to_another_protocol_do_not_count(tmp_path: Path) -> None:
    old = cell(tmp_path, "old", [row("a", "correct")])
    new = cell(tmp_path, "new", [], digest="other")
    assert carry_over(old, new) == 1
    assert carried(new) == []
