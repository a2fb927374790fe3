"""Asking in stages, end to end on the fake engine: an arm is asked no more once it is decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runs import accuracy_job, experiment, only_run, records, servegate

# 400 sums: enough for ten stages of 40.
SUMS = [
    {"question": f"What is {n} plus {n + 1}?", "answer": f"Add them.\n#### {2 * n + 1}"}
    for n in range(400)
]
STAGED = {
    "data": "sums.jsonl", "stages": 10, "launches": 1, "concurrency": 8, "deadline_s": 100,
}  # fmt: skip
# Slow enough for the runner to look between two stages: 5 tokens or so, 8 at a time.
PACE = {"itl_ms": 4.0, "ttft_ms": 5.0, "answer_ttft_ms": 60.0, "answer_itl_ms": 8.0}


def run_staged(folder: Path, faults: dict[str, list[Any]], **changes: Any) -> Path:
    """Reference `nccl` and further arms with these faults, at attention DP 2 and 4."""
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SUMS), "utf-8")
    file = experiment(
        folder,
        engine={"name": "fake", "fake": {**PACE, "accuracy": 0.98}},
        layouts=[{"tp": 4, "attention_dp": [2, 4]}],
        arms={
            "nccl": {"preset": "nccl"},
            **{
                name: {"preset": "nccl", "fake": {"faults": of}} for name, of in faults.items()
            },
        },
        jobs={"gsm8k": accuracy_job(**STAGED)},
        **{"gates": {"gsm8k": {"score": {"margin": 0.05}}}, **changes},
    )  # fmt: skip
    done = servegate("run", file, "--out", folder / "runs", cwd=folder)
    (folder / "stdout").write_text(done.stdout + done.stderr, "utf-8")
    return only_run(folder)


def by_place(run: Path) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (record["arm"], record["layout"]["attention_dp"]): record
        for record in records(run).values()
    }


def rows_of(run: Path) -> dict[tuple[str, int], dict[str, Any]]:
    report = json.loads((run / "report.json").read_text("utf-8"))
    return {(row["arm"], row["layout"]["attention_dp"]): row for row in report["rows"]}


def test_the_one_percent_incident_is_named_and_stops_after_the_first_stage(
    tmp_path: Path,
) -> None:
    broken = {"kind": "accuracy_at", "attention_dp": 2, "accuracy": 0.01}
    run = run_staged(tmp_path, {"fast": [broken]})
    rows = rows_of(run)
    verdicts = {place: row["verdict"] for place, row in rows.items()}
    assert verdicts == {
        ("nccl", 2): "pass", ("fast", 2): "regressed", ("nccl", 4): "pass", ("fast", 4): "pass",
    }  # fmt: skip
    reason = json.loads((run / "report.json").read_text("utf-8"))["reason"]
    assert reason.startswith("1 of 4 rows regressed: fast on tp4-dp2-ep1")
    found = by_place(run)
    asked = {place: record["counts"]["examples"] for place, record in found.items()}
    assert asked["fast", 2] == 40  # the first of ten stages
    assert asked["nccl", 2] == asked["nccl", 4] == 400
    assert 80 <= asked["fast", 4] < 400  # an equal arm is done early too, but never so early
    stopped = found["fast", 2]
    assert stopped["status"] == "ok"
    assert stopped["details"]["stopped"]["stage"] == 0
    assert stopped["details"]["stopped"]["reason"].startswith(
        "decided after 40 of 400 questions: score regressed at -9"
    )
    [check] = [c for c in rows["fast", 2]["checks"] if c["metric"] == "score"]
    assert check["n"] == 40
    assert check["reason"].startswith("worse: -9")
    assert "after 40 of 400 questions (stage 1 of 10)" in check["reason"]
    # What was in flight when the word came is on disk, and does not count.
    lines = (run / f"launches/{stopped['launch']}/cells/gsm8k/answers.jsonl").read_text("utf-8")
    assert 40 < len(lines.splitlines()) < 200
    assert stopped["counts"]["samples"] == 40


def test_an_arm_near_the_margin_is_asked_to_the_end_and_a_floor_is_waited_for(
    tmp_path: Path,
) -> None:
    """A little worse, and the margin is small: nothing is decided before all is asked.

    The equal arm would be done early, but its floor of 99 % is not shown by fewer questions.
    """
    slightly = {"kind": "accuracy_at", "attention_dp": 4, "accuracy": 0.972}
    run = run_staged(
        tmp_path,
        {"other": [slightly]},
        gates={"gsm8k": {"score": {"margin": 0.015, "floor": 0.99}}},
    )
    found = by_place(run)
    for place in (("other", 2), ("other", 4)):
        assert found[place]["counts"]["examples"] == 400
        assert "stopped" not in found[place]["details"]
    [check] = [
        c for c in rows_of(run)["other", 4]["checks"] if c["against"] == "reference" and c["gated"]
    ]
    assert "after 400 of 400 questions (stage 10 of 10)" in check["reason"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"launches": 2, "jobs": {"gsm8k": accuracy_job(stages=4)}}, "ends on the launch on which"),
        ({"jobs": {"gsm8k": accuracy_job(stages=4)}, "gates": {}}, "has none on a score or a rate"),
    ],
)  # fmt: skip
def test_stages_that_could_not_stop_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = experiment(tmp_path, **{"gates": {"gsm8k": {"score": {"margin": 0.2}}}, **changes})
    done = servegate("plan", file, cwd=tmp_path)
    assert done.returncode == 2
    assert f"jobs.gsm8k.stages: {said}" in done.stderr.replace("a job in stages ", "").replace(
        "stops when the gates of gsm8k are decided, and it ", ""
    )
