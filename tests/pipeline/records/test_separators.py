"""Every separator and control character of Unicode in the lines that a run writes for others."""

from __future__ import annotations

import json
from pathlib import Path

from evals.files import split_lines
from pipeline.compare.pairing import pair
from pipeline.compare.text import flip_lines
from pipeline.records.folder import RunFolder
from pipeline.records.record import read_answers
from scripts.gpu_smoke.timed_run import started
from tests.evals.accuracy.test_grades import answer
from tests.evals.test_files import TEXT


def test_events(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.add_event("launch_started", reason=TEXT)
    folder.add_event("launch_started", reason="\u2028")
    rows = [json.loads(line) for line in split_lines(folder.events.read_bytes())]
    assert [row["reason"] for row in rows] == [TEXT, "\u2028"]
    assert started(tmp_path) == 2


def test_flips(tmp_path: Path) -> None:
    right = answer("q", 0, "correct").model_copy(update={"question": TEXT, "response": TEXT})
    wrong = answer("q", 0, "wrong").model_copy(update={"question": TEXT, "response": TEXT})
    paired = pair([right], [wrong], alpha=0.05, job="gsm8k", names=("nccl", "other"))
    assert paired is not None
    (line,) = split_lines(flip_lines([paired]).encode())
    flip = json.loads(line)
    assert flip["question"] == flip["arm"]["response"] == TEXT
    (tmp_path / "answers.jsonl").write_bytes(wrong.model_dump_json().encode() + b"\n")
    assert read_answers(tmp_path) == [wrong]
