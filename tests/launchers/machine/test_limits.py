"""Flags and sizes that no launch can have: each is refused, and what asks for nothing is not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from launchers.machine.limits import EP_SPANS_TP, LIMITS, refused_args, refused_sizes

# A value that SGLang takes for each flag, one that asks for what servegate cannot give.
ASKED: dict[str, Any] = {
    "disaggregation-mode": "decode",
    "decoupled-spec-role": "drafter",
    "ssl-keyfile": "key.pem",
    "ssl-certfile": "cert.pem",
    "api-key": "sk-1",
    "gated-launch-port": 4000,
    "node-rank": 1,
    "config": "more.yaml",
}
EVERY = [flag for limit in LIMITS for flag in limit.flags]


@pytest.mark.parametrize("flag", EVERY)
def test_each_is_refused_where_it_asks_for_something(flag: str) -> None:
    [(named, why)] = refused_args({"page-size": 16, flag: ASKED.get(flag, True)})
    assert named == flag
    assert why


@pytest.mark.parametrize("flag", EVERY)
def test_none_is_refused_where_it_is_left_out(flag: str) -> None:
    assert list(refused_args({flag: None})) == []
    assert list(refused_args({flag: False})) == []


@pytest.mark.parametrize(
    "args",
    [
        {"disaggregation-mode": "null"},
        {"decoupled-spec-role": "null"},
        {"node-rank": 0},
        {"disaggregation-transfer-backend": "nixl", "admin-api-key": "sk-2"},
        {"language-model-only": True, "served-by": "grpc-mode"},
    ],
)
def test_their_harmless_values_and_neighbours_are_taken(args: dict[str, Any]) -> None:
    assert list(refused_args(args)) == []


@pytest.mark.parametrize("backend", sorted(EP_SPANS_TP))
def test_a_backend_that_sets_ep_needs_ep_as_tp(backend: str) -> None:
    args = {"moe-a2a-backend": backend}
    assert refused_sizes(args, tp=8, ep=8) == ""
    assert refused_sizes(args, tp=1, ep=1) == ""
    for ep in (1, 2, 4):
        told = refused_sizes(args, tp=8, ep=ep)
        assert told == f"moe-a2a-backend {backend} makes SGLang set ep to tp, 8; set ep: 8"


@pytest.mark.parametrize("args", [{}, {"moe-a2a-backend": "none"}, {"moe-a2a-backend": None}])
def test_without_one_ep_is_free(args: dict[str, Any]) -> None:
    assert refused_sizes(args, tp=8, ep=1) == ""
    assert refused_sizes(args, tp=8, ep=4) == ""


def test_waterfill_takes_deepep() -> None:
    assert "makes SGLang set ep to tp, 4" in refused_sizes({"enable-waterfill": True}, tp=4, ep=2)
    assert refused_sizes({"enable-waterfill": False}, tp=4, ep=2) == ""
    assert refused_sizes({"enable-waterfill": True}, tp=4, ep=4) == ""


def test_eplb_needs_experts_on_several_ranks() -> None:
    assert "enable-eplb needs ep above 1" in refused_sizes({"enable-eplb": True}, tp=4, ep=1)
    assert refused_sizes({"enable-eplb": True}, tp=4, ep=2) == ""
    assert refused_sizes({"enable-eplb": False}, tp=4, ep=1) == ""


@pytest.mark.engine
def test_they_are_those_of_the_installed_sglang() -> None:
    """Backends that set ep as SGLang lists them, and every refused flag exists there."""
    script = (
        "import argparse, json\n"
        "from sglang.srt.arg_groups.overrides import _A2A_EP_SPANNING_BACKENDS as spanning\n"
        "from sglang.srt.server_args import ServerArgs\n"
        "parser = argparse.ArgumentParser()\n"
        "ServerArgs.add_cli_args(parser)\n"
        "print(json.dumps([sorted(spanning), sorted(parser._option_string_actions)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True
    )
    spanning, options = json.loads(done.stdout.splitlines()[-1])
    assert set(spanning) == EP_SPANS_TP
    assert {f"--{flag}" for flag in EVERY} <= set(options)
