"""The whole way on the real SGLang: two arms on the fused layout, real answers, one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launchers import models
from tests.pipeline.runs import only_run, records, servegate

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]


def answers(run: Path, launch: str) -> dict[str, str]:
    lines = (run / f"launches/{launch}/cells/gsm8k/answers.jsonl").read_text("utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return {row["id"]: row["response"] for row in rows}


def test_the_demo_in_small(tmp_path: Path) -> None:
    models.prepare("smollm2-moe")
    done = servegate(
        "run", EXPERIMENTS / "cpu-demo.yaml", "--out", tmp_path / "runs", "--exit-by", "records",
        "--set", "launches=1",
        "--set", "jobs.gsm8k.examples=8",
        "--set", "jobs.gsm8k.max_tokens=16",
        "--set", "jobs.latency.output_len=6",
        cwd=tmp_path, timeout=1100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "records: 4 of 4 ok" in done.stdout
    run = only_run(tmp_path)
    found = records(run)
    premises = {
        cell: {premise["name"]: premise for premise in record["premises"]}
        for cell, record in found.items()
    }
    mixed = premises["01-mixed-comm-dp2/latency"]
    assert [premise["state"] for premise in mixed.values()] == ["proved"] * 5
    assert "all 4 ranks, handler reference" in mixed["communication path"]["detail"]
    baseline = premises["00-nccl-dp2/latency"]
    assert baseline["layout"]["state"] == baseline["environment"]["state"] == "proved"
    assert not list(run.glob("launches/00-*/witness*"))
    # Eight prompts at once on two attention-DP groups: 5 gaps each.
    latency = found["00-nccl-dp2/latency"]
    assert latency["counts"]["completed"] == 8
    assert latency["metrics"]["median_itl_ms"] > 0
    # The operations give the same bits in both arms, but the order in which requests reach a batch
    # does not repeat: of 60 answers of 48 tokens, 55 were the same. Garbage would share none.
    baseline_answers, mixed_answers = answers(run, "00-nccl-dp2"), answers(run, "01-mixed-comm-dp2")
    assert baseline_answers.keys() == mixed_answers.keys()
    assert sum(baseline_answers[key] == text for key, text in mixed_answers.items()) >= 5
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert any("never the speed of a GPU" in caveat for caveat in report["caveats"])
