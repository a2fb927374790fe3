"""Thirty nights by the commands themselves, with one regression in them.

Four nights are run for real on the fake engine: the first, the one that is regressed, and the two
behind it. The other 26 are the first one's records with other times and a noise of their own, laid
down as a run leaves them; each goes through the real `gate` and `accept`.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from tests.pipeline.runs import LATENCY, experiment, servegate

STORED = 27
"""Nights 0 to 26 lie in the past; 27 is the bad one, 28 and 29 are well again."""

_COMMAND = CliRunner()


def command(*args: str | Path) -> Result:
    return _COMMAND.invoke(app, [str(word) for word in args], catch_exceptions=False)


def run_for_real(home: Path, *more: str) -> tuple[int, str, Path]:
    """One night by `servegate run --nightly`; the reference arm is as slow as `more` makes it."""
    path = experiment(
        home,
        launches=3,
        engine={"name": "fake", "fake": {"itl_ms": 20.0, "ttft_ms": 5.0}},
        jobs={"latency": {**LATENCY, "prompts": 4, "warmup_requests": 0}},
        gates={"latency": {"median_itl_ms": {"margin": 0.3}}},
    )
    before = set((home / "runs").glob("tiny/*"))
    done = servegate("run", path, "--nightly", *more, cwd=home)
    (run,) = set((home / "runs").glob("tiny/*")) - before
    return done.returncode, done.stdout, run


def as_night(run: Path, number: int, noise: np.random.Generator | None, target: Path) -> Path:
    """A run's folder as that of another night: its times, and ITLs that differ a little."""
    start = datetime.now(UTC) - timedelta(days=STORED - number)
    folder = target / f"{start:%Y%m%dT%H%M%SZ}-{run.name.split('-')[-1]}"
    shutil.copytree(run, folder)
    night = 0.0 if noise is None else noise.normal(0, 0.02)
    for path in folder.glob("launches/*/cells/*/record.json"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own = 0.0 if noise is None else noise.normal(0, 0.02)
        record["started_at"] = record["ended_at"] = start.isoformat(timespec="milliseconds")
        record["metrics"]["median_itl_ms"] *= exp(night + own)
        path.write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_right_night_the_right_cell_the_right_exit_code(tmp_path: Path) -> None:
    home, history = tmp_path / "home", tmp_path / "home" / "runs" / "history.sqlite"
    home.mkdir()
    code, told, first = run_for_real(home)
    assert code == 3, told  # nothing was accepted yet
    assert "no pinned baseline before tonight" in told
    rng = np.random.default_rng(3)
    stored = tmp_path / "stored" / "tiny"
    shutil.move(first, stored / first.name)
    history.unlink()  # the nights begin in the past, where the first run is put
    codes = []
    for number in range(STORED):
        night = as_night(
            stored / first.name, number, rng if number else None, home / "runs" / "tiny"
        )
        codes.append(command("gate", night, "--against-history").exit_code)
        pin = ["--pin", "release"] if number == 0 else []
        accepted = command("accept", night, "--reason", f"night {number}", "--by", "cron", *pin)
        assert accepted.exit_code == 0, accepted.output
    assert codes[0] == 3  # no baseline
    assert 1 not in codes
    assert set(codes[10:]) == {0}

    code, told, bad = run_for_real(home, "--set", "arms.nccl.fake.itl_ms=40.0")
    assert code == 1, told
    assert "regressed: nccl on tp2-dp2-ep1: latency median ITL against the pinned" in told
    assert "regressed: other" not in told
    refused = command("accept", bad, "--reason", "please")
    assert refused.exit_code == 3
    assert "regressed against the accepted nights" in refused.output

    for _ in range(2):
        code, told, _ = run_for_real(home)
        assert code == 0, told

    page = tmp_path / "history.html"
    shown = command("history", "--history", history, "--html", page, "--json")
    assert shown.exit_code == 0
    document = json.loads(shown.output)
    (tiny,) = document["experiments"]
    assert tiny["nights"] == 30
    found = {
        (line["arm"], point["run"])
        for line in tiny["lines"]
        for point in line["points"]
        if point["verdict"] == "regressed"
    }
    assert found == {("nccl", bad.name)}
    by_arm = {line["arm"]: line for line in tiny["lines"]}
    assert by_arm["nccl"]["first_bad"]["run"] == bad.name
    assert by_arm["other"]["first_bad"] is None
    text = page.read_text(encoding="utf-8")
    assert f"first bad night: {bad.name}" in text
    assert text.count('class="bad"') == 1
    assert "night 26" in text
