import json
from pathlib import Path
from typing import Any

import pytest

from launchers.server.health import ServerExited
from tests.launchers.fake_engine.conftest import Serve
from tests.launchers.fake_engine.test_server import generate

FUSED = {"ALLREDUCE_ALLGATHER", "REDUCESCATTER_ALLREDUCE"}
PLAIN = {"ALLGATHER", "REDUCESCATTER"}


def on(folder: Path, **changed: str) -> dict[str, str]:
    return {
        "SGLANG_USE_MIXED_COMM": "1",
        "SGLANG_PLUGINS": "other,servegate_mixed_comm",
        "SERVEGATE_WITNESS_DIR": str(folder),
        **changed,
    }


def witnesses(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("witness-rank*.json"))]


@pytest.mark.parametrize(
    ("tp", "dp", "operations", "idle"),
    [
        ("4", "2", FUSED, None),
        ("4", "4", PLAIN, None),
        ("2", "1", set(), "no-attention-dp"),
    ],
)
def test_each_rank_says_which_operations_its_layout_takes(
    serve: Serve, tmp_path: Path, tp: str, dp: str, operations: set[str], idle: str | None
) -> None:
    with serve({"itl_ms": 0}, "--tp-size", tp, "--attn-dp-size", dp, **on(tmp_path)) as server:
        before = witnesses(tmp_path)
        for _ in range(3):
            generate(server, 2)
        found = witnesses(tmp_path)
    assert [one["rank"] for one in found] == list(range(int(tp)))
    for early, late in zip(before, found, strict=True):
        assert set(late["operations"]) == operations
        assert all(late["operations"][name] > early["operations"][name] for name in operations)
        assert late["idle_reason"] == idle
        assert late["handler"] == (None if idle else "fake")
        assert late["world_size"] == int(tp)


@pytest.mark.parametrize(
    "changed",
    [
        {"SGLANG_USE_MIXED_COMM": "0"},
        {"SGLANG_PLUGINS": "none"},
        {"SERVEGATE_WITNESS_DIR": ""},
    ],
)
def test_without_switch_plugin_or_folder_there_is_no_witness(
    serve: Serve, tmp_path: Path, changed: dict[str, str]
) -> None:
    with serve({}, "--tp-size", "2", "--attn-dp-size", "2", **on(tmp_path, **changed)) as server:
        generate(server, 2)
    assert witnesses(tmp_path) == []


def test_an_environment_can_be_ignored(serve: Serve, tmp_path: Path) -> None:
    told = {"faults": [{"kind": "ignore_env"}]}
    with serve(told, "--tp-size", "2", "--attn-dp-size", "2", **on(tmp_path)) as server:
        generate(server, 2)
    assert witnesses(tmp_path) == []


def test_a_missing_witness_folder_stops_it_as_it_stops_the_plugin(
    serve: Serve, tmp_path: Path
) -> None:
    with (
        pytest.raises(ServerExited, match="is not a folder; create it first"),
        serve({}, **on(tmp_path / "nowhere")),
    ):
        pytest.fail("not reached")
