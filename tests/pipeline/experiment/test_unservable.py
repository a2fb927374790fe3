"""What can run nowhere, or sets nothing aside, is refused with the key to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.experiment.load import load_experiment
from tests.pipeline.experiment.test_load import base, problems


def accepted(tmp_path: Path, data: dict[str, Any]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    load_experiment(path)


def test_a_flag_is_named_where_it_was_written(tmp_path: Path) -> None:
    data = base()
    data["server"] = {"args": {"skip-tokenizer-init": True}}
    data["arms"]["b"]["args"]["disaggregation-mode"] = "prefill"
    assert problems(tmp_path, data) == [
        (
            "arms.b.args.disaggregation-mode: needs a second server and a router beside it, and a "
            "launch is one server"
        ),
        "server.args.skip-tokenizer-init: makes the server refuse text",
    ]


def test_an_arm_may_take_a_shared_flag_out(tmp_path: Path) -> None:
    data = base()
    data["server"] = {"args": {"smg-grpc-mode": True}}
    for arm in data["arms"].values():
        arm["args"] = {"smg-grpc-mode": False}
    accepted(tmp_path, data)
    del data["arms"]["b"]["args"]
    [told] = problems(tmp_path, data)
    assert told == ("server.args.smg-grpc-mode: serves gRPC only, and the clients speak HTTP")


def test_a_backend_that_sets_ep_names_its_layouts_and_arms(tmp_path: Path) -> None:
    data = base()
    data["layouts"] = [
        {"tp": 4, "attention_dp": [2], "ep": 4},
        {"tp": 8, "attention_dp": [2, 8], "ep": 2},
    ]
    data["arms"]["b"]["args"]["moe-a2a-backend"] = "mooncake"
    assert problems(tmp_path, data) == [
        (
            "layouts.1.ep: is 2, but in arms b moe-a2a-backend mooncake makes SGLang set ep to "
            "tp, 8; set ep: 8"
        )
    ]
    data["layouts"][1]["ep"] = 8
    accepted(tmp_path, data)


def test_two_nodes_are_no_layout_of_the_cpu(tmp_path: Path) -> None:
    data = base()
    data["layouts"] = [{"tp": 4, "attention_dp": [2], "nodes": 2}]
    accepted(tmp_path, data)
    [told] = problems(tmp_path, data, "engine.device=cpu")
    assert told.startswith("layouts.0.nodes: is 2, and on device cpu all ranks")
    data["layouts"][0]["nodes"] = 1
    data["engine"] = {"device": "cpu"}
    accepted(tmp_path, data)


def test_replicas_are_told_from_attention_dp(tmp_path: Path) -> None:
    data = base()
    data["server"] = {"args": {"dp-size": 4}}
    [told] = problems(tmp_path, data)
    assert "layouts[].attention_dp (replicas of a whole server" in told


def test_a_served_name_with_a_colon(tmp_path: Path) -> None:
    data = base()
    data["model"]["served_name"] = "qwen:7b"
    [told] = problems(tmp_path, data)
    assert told.startswith("model.served_name: 'qwen:7b' has a ':'")
    data["model"]["served_name"] = "qwen-7b"
    accepted(tmp_path, data)


@pytest.mark.parametrize(("floor", "taken"), [(0.85, True), (85.0, False), (1.0, False),
                                              (0.0, False), (-0.5, False)])  # fmt: skip
def test_a_floor_is_a_share_that_can_be_missed_and_kept(
    floor: float, taken: bool, tmp_path: Path
) -> None:
    data = base()
    data["jobs"]["gsm8k"] = {"kind": "accuracy"}
    data["gates"] = {"gsm8k": {"score": {"margin": 0.05, "floor": floor}}}
    if taken:
        accepted(tmp_path, data)
        return
    [told] = problems(tmp_path, data)
    assert told.startswith(f"gates.gsm8k.score.floor: {floor:g} decides nothing")


def quarantined(**changes: str) -> dict[str, Any]:
    data = base()
    data["gates"] = {"latency": {"median_itl_ms": {"margin": 0.05}}}
    entry = {"arm": "b", "owner": "x", "note": "y", "since": "2026-11-20", "until": "2026-11-30"}
    data["quarantine"] = [entry | changes]
    return data


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"arm": "*"}, {"layout": "tp4-dp2-*"}, {"job": "lat*"}, {"metric": "median_*"},
        {"job": "latency", "metric": "median_itl_ms"},
    ],
)  # fmt: skip
def test_a_quarantine_that_matches_is_taken(changes: dict[str, str], tmp_path: Path) -> None:
    accepted(tmp_path, quarantined(**changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arm": "mixed"}, "arm: 'mixed' matches nothing; there: b, nccl"),
        ({"layout": "tp8-*"}, "layout: 'tp8-*' matches nothing; there: tp4-dp2-ep1, tp4-dp4-ep1"),
        ({"job": "gsm8k"}, "job: 'gsm8k' matches nothing; there: latency"),
        ({"metric": "p99_itl_ms"}, "metric: 'p99_itl_ms' matches nothing; there: median_itl_ms"),
    ],
)
def test_a_quarantine_that_matches_nothing_is_refused(
    changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    assert problems(tmp_path, quarantined(**changes)) == [f"quarantine.0.{said}"]


def test_a_quarantined_metric_must_be_gated(tmp_path: Path) -> None:
    data = quarantined(metric="median_itl_ms")
    data["gates"] = {}
    [told] = problems(tmp_path, data)
    assert told == "quarantine.0.metric: 'median_itl_ms' matches nothing; there: none is gated"
