"""A sweep with a further baseline and an A/A arm, run for real on the fake engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runs import experiment, only_run, records, servegate

ARMS = {
    "nccl": {"preset": "nccl"},
    "again": {"preset": "nccl"},
    "nccl-symmetric": {"preset": "nccl-symmetric"},
    "fast": {"preset": "nccl", "fake": {"itl_ms": 10.0}},
}
JOB = {
    "kind": "latency", "input_len": 8, "output_len": 12, "sweep": {"concurrency": [1, 4]},
    "waves": 2, "runs": 2, "drop_first_run": True, "goodput": {"e2e_ms": 60_000.0},
    "deadline_s": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    file = experiment(
        folder, arms=ARMS, baselines=["nccl-symmetric"], launches=2, jobs={"load": JOB},
        gates={
            "load": {"median_itl_ms": {"margin": 0.5}}, "load-8-12-4": {"goodput": {"margin": 0.5}},
        },
    )  # fmt: skip
    done = servegate("run", file, "--exit-by", "records", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without trusting a normal distribution" in done.stderr  # two launches an arm
    return only_run(folder)


def test_every_point_has_its_own_cells_with_all_metrics(run: Path) -> None:
    found = records(run)
    assert len(found) == 4 * 2 * 2
    record = found[next(cell for cell in found if cell.endswith("/load-8-12-4"))]
    assert record["counts"]["requests"] == 2 * 8
    assert record["metrics"].keys() >= {
        "median_itl_ms", "p90_itl_ms", "p95_tpot_ms", "p99_ttft_ms", "p99_e2e_ms",
        "steady_itl_ms", "steady_p99_gap_ms", "steady_throughput", "goodput", "slo_attainment",
    }  # fmt: skip
    assert record["metrics"]["slo_attainment"] == 100
    assert record["details"]["dropped_runs"] == 1
    assert [window["gaps"] > 0 for window in record["details"]["full_batch"]] == [True, True]
    assert 0 < record["details"]["job_seconds"] <= record["seconds"]
    assert "gpu" not in record["details"]  # a fake server uses none


def test_the_report_has_the_points_the_baselines_and_the_noise_floor(run: Path) -> None:
    document: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    jobs = {"load-8-12-1", "load-8-12-4"}
    assert {(one["arm"], one["job"]) for one in document["noise"]} == {("again", j) for j in jobs}
    (fast,) = (row for row in document["rows"] if row["arm"] == "fast")
    against = {(c["job"], c["against"], c["other"]) for c in fast["checks"] if c["other"]}
    assert {(job, "baseline", "nccl-symmetric") for job in jobs} <= against
    gated = {(c["job"], c["metric"]) for c in fast["checks"] if c["gated"]}
    assert gated == {(job, "median_itl_ms") for job in jobs} | {("load-8-12-4", "goodput")}
    text = (run / "report.md").read_text(encoding="utf-8")
    for title in ("## Loads of load", "## Speed against every baseline", "## Noise floor"):
        assert title in text
