"""A run that buys launches, for real on the fake engine: no more than it needs, also resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runs import LATENCY, experiment, only_run, records, servegate

# A margin that no two launches on a busy machine can decide, and one that they always do.
NEVER, ALWAYS = 0.0011, 0.9


def _run(folder: Path, margin: float, jitter: float) -> tuple[int, Path]:
    file = experiment(
        folder, launches=2, sequential={"max_launches": 3}, jobs={"latency": LATENCY},
        engine={"name": "fake", "fake": {"itl_ms": 20.0, "launch_jitter": jitter}},
        gates={"latency": {"median_itl_ms": {"margin": margin}}},
    )  # fmt: skip
    done = servegate("run", file, cwd=folder)
    assert (folder / "runs").exists(), done.stdout + done.stderr
    return done.returncode, only_run(folder)


def _report(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return document


def _events(run: Path, name: str) -> list[str]:
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["launch"] for event in map(json.loads, lines) if event["event"] == name]


def test_an_undecided_speed_buys_up_to_the_cap(tmp_path: Path) -> None:
    code, run = _run(tmp_path, NEVER, 0.2)
    assert len(records(run)) == 6
    document = _report(run)
    assert {(one["arm"], one["launches"]) for one in document["bought"]} == {
        ("nccl", 1), ("other", 1),
    }  # fmt: skip
    assert code == document["exit_code"] != 0
    assert _events(run, "launch_not_needed") == []
    # What was bought and is lost is missing, and a resumed run makes it again.
    shutil.rmtree(next(run.glob("launches/05-*/cells")))
    assert servegate("gate", run, cwd=tmp_path).returncode == 3
    servegate("run", "--resume", run, cwd=tmp_path)
    assert len(records(run)) == 6


@pytest.mark.parametrize("exit_by", ["verdict", "records"])
def test_a_decided_speed_buys_nothing_and_misses_nothing(tmp_path: Path, exit_by: str) -> None:
    code, run = _run(tmp_path, ALWAYS, 0.0)
    assert code == 0
    assert len(records(run)) == 4
    document = _report(run)
    assert document["verdict"] == "pass"
    assert [row["records"]["planned"] for row in document["rows"]] == [2, 2]
    assert len(_events(run, "launch_not_needed")) == 2
    again = servegate("run", "--resume", run, "--exit-by", exit_by, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(records(run)) == 4
