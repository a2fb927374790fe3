"""Arms that are not what they say, on servers: the cell is invalid and never a pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runs import LATENCY, accuracy_job, experiment, only_run, records, servegate

KERNELS = {"kind": "comm-kernels", "concurrency": 2, "layers": 4, "deadline_s": 60}


def run(tmp_path: Path, arm: dict[str, Any], **changes: Any) -> tuple[int, Path, str]:
    """A run of nccl against `arm` on TP 4 x attention DP 2; exit code, folder, output."""
    file = experiment(
        tmp_path,
        arms={"nccl": {"preset": "nccl"}, "arm": arm},
        layouts=[{"tp": 4, "attention_dp": [2]}],
        **changes,
    )
    done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    return done.returncode, only_run(tmp_path), done.stdout + done.stderr


def faulty(preset: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"preset": preset, "fake": {"faults": [{"kind": kind, **settings}]}}


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (faulty("mixed-comm", "ignore_env"), "no witness file of ranks [0, 1, 2, 3]"),
        (
            faulty("mixed-comm", "rank_passes_through", rank=2),
            "rank 2 took no ALLREDUCE_ALLGATHER (passed through: dtype",
        ),
        (
            faulty("mixed-comm", "plugin_failed"),
            "Failed to execute general plugin: servegate",
        ),
        (
            {"preset": "mixed-comm", "env": {"SGLANG_USE_MIXED_COMM": "0"}},
            "no witness file of ranks [0, 1, 2, 3]",
        ),
        (
            faulty("nccl-symmetric", "symmetric_memory_off"),
            "enable_symm_mem is off, asked for on",
        ),
    ],
    ids=["plugin-not-loaded", "one-rank", "exception", "switch-off", "symmetric-off"],
)
def test_an_arm_that_is_not_what_it_claims(arm: dict[str, Any], said: str, tmp_path: Path) -> None:
    code, folder, output = run(tmp_path, arm)
    record = records(folder)["01-arm-dp2/latency"]
    assert (record["status"], record["failure_class"]) == ("invalid", "premise"), output
    assert said in record["reason"]
    assert code == 3
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    [row] = [row for row in report["rows"] if row["arm"] == "arm"]
    assert row["verdict"] == "missing"
    assert row["proof"]["disproved"]
    assert records(folder)["00-nccl-dp2/latency"]["status"] == "ok"


def test_a_wrong_arm_costs_its_start_only(tmp_path: Path) -> None:
    """What is seen at the start is not measured first: three jobs, and no client was started."""
    _, folder, _ = run(
        tmp_path,
        faulty("mixed-comm", "ignore_env"),
        jobs={"one": LATENCY, "two": LATENCY},
        gates={},
    )
    for job in ("one", "two"):
        assert records(folder)[f"01-arm-dp2/{job}"]["failure_class"] == "premise"
        assert not (folder / f"launches/01-arm-dp2/cells/{job}/job.log").exists()


@pytest.mark.parametrize(
    ("preset", "family", "each"),
    [
        ("default", "sglang-ar-v2", 8),
        ("nccl", "nccl", 16),
        ("nccl-symmetric", "nccl-symmetric", 16),
        ("mixed-comm", "mixed", 8),
    ],
)
def test_each_preset_shows_its_own_kernels(
    preset: str, family: str, each: int, tmp_path: Path
) -> None:
    code, folder, output = run(
        tmp_path, {"preset": preset}, jobs={"gsm8k": accuracy_job(), "kernels": KERNELS},
        gates={"gsm8k": {"score": {"margin": 0.2}}}, require_proof=True,
    )  # fmt: skip
    assert code == 0, output
    record = records(folder)["03-arm-dp2/kernels"]
    assert record["details"]["kernels"]["families"] == {family: each}
    # Nothing is measured on a server that is traced.
    assert set(records(folder)) == {
        "00-nccl-dp2/gsm8k", "01-arm-dp2/gsm8k", "02-nccl-dp2/kernels", "03-arm-dp2/kernels",
    }  # fmt: skip
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for row in report["rows"]:
        assert row["proof"]["missing"] == []
        assert "decode kernels" in row["proof"]["found"]


@pytest.mark.parametrize(
    ("preset", "family", "said"),
    [
        ("nccl-symmetric", "nccl", "no kernel of nccl-symmetric"),
        ("mixed-comm", "nccl", "no kernel of mixed"),
        ("nccl", "sglang-ar-v2", "no kernel of nccl"),
        ("default", "void secret_all_gather_kernel(x)", "unknown kernel that looks like"),
    ],
)
def test_kernels_of_another_arm_make_it_invalid(
    preset: str, family: str, said: str, tmp_path: Path
) -> None:
    """Every flag and witness is as it should be, and the latency was measured: no matter."""
    code, folder, _ = run(
        tmp_path,
        faulty(preset, "wrong_kernels", family=family, per_layer=4),
        jobs={"latency": LATENCY, "kernels": KERNELS},
    )
    assert code == 3
    assert records(folder)["01-arm-dp2/latency"]["status"] == "ok"
    record = records(folder)["03-arm-dp2/kernels"]
    assert (record["status"], record["failure_class"]) == ("invalid", "premise")
    assert said in record["reason"]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    [row] = [row for row in report["rows"] if row["arm"] == "arm"]
    [check] = [check for check in row["checks"] if check["gated"]]
    assert (row["verdict"], check["verdict"]) == ("missing", "missing")
    assert check["reason"].startswith("the arm is invalid: 03-arm-dp2/kernels")


def test_without_a_trace_a_gate_that_asks_for_proof_is_not_passed(tmp_path: Path) -> None:
    code, folder, output = run(tmp_path, {"preset": "mixed-comm"}, require_proof=True)
    assert code == 3
    assert "proof is required, and missing for: decode kernels" in output
    assert records(folder)["01-arm-dp2/latency"]["status"] == "ok"
