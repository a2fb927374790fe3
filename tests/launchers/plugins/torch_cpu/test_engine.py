"""The CPU platform inside the real SGLang: collectives, operations, and a served answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from launchers import models
from launchers.engines import LaunchSettings, launch_argv, launch_env
from launchers.server.health import SGLANG_HEALTH
from launchers.server.launch import launched

pytestmark = pytest.mark.engine

QUESTION = "Tom has 3 apples and buys 4 more. How many apples does he have?"


def run(*module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *module],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [2, 4])
def test_collectives_in_shared_memory_are_exact(size: int, tmp_path: Path) -> None:
    run("tests.launchers.plugins.torch_cpu.ranks", str(size), str(tmp_path))
    for rank in range(size):
        report = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert report == {"backend": "servegate_shm", "failed": []}, f"rank {rank}"


def test_operations_give_what_sglangs_own_give() -> None:
    found = json.loads(run("tests.launchers.plugins.torch_cpu.operations").splitlines()[-1])
    # The norm rounds at the same places; the others only sum in another order.
    assert {name: found[name] for name in found if name.startswith("norm")} == {
        "norm bfloat16": 0.0,
        "norm bfloat16, two pieces": 0.0,
        "norm float32": pytest.approx(0.0, abs=1e-5),
        "norm of nothing": 0.0,
    }
    assert found["decode bfloat16"] < 0.02
    rest = {name: found[name] for name in found if "norm" not in name and "bfloat16" not in name}
    assert len(rest) == 7
    assert max(rest.values()) < 1e-5, rest


def settings(tp: int, attention_dp: int, ep: int) -> LaunchSettings:
    path = models.prepare("smollm2-moe")
    return LaunchSettings(
        engine="sglang",
        version="0.5.23",
        device="cpu",
        python=None,
        model_path=str(path),
        served_name=str(path),
        host="127.0.0.1",
        port=None,
        tp=tp,
        attention_dp=attention_dp,
        ep=ep,
        nodes=1,
        args={"max-total-tokens": 2000},
        env={},
        plugins=(),
        fake={},
    )


# The last is the layout whose output SGLang 0.5.16 got wrong: attention DP = EP > 1 with attention
# TP = MoE TP > 1 (sglang#23713, srt/layers/moe/utils.py).
@pytest.mark.parametrize(
    ("tp", "attention_dp", "ep"),
    [(1, 1, 1), pytest.param(4, 2, 1, marks=pytest.mark.long), (4, 2, 2)],
)
def test_a_real_server_answers(tp: int, attention_dp: int, ep: int, tmp_path: Path) -> None:
    asked = settings(tp, attention_dp, ep)
    with launched(
        argv=launch_argv(asked),
        env=os.environ | launch_env(asked, cores=os.cpu_count() or 1),
        log=tmp_path / "server.log",
        host="127.0.0.1",
        port=None,
        health=SGLANG_HEALTH,
        ready_timeout_s=500,
        stop_timeout_s=30,
        on_state=lambda _: None,
    ) as server:
        answer = requests.post(
            f"{server.base_url}/v1/chat/completions",
            json={
                "model": asked.model_path,
                "messages": [{"role": "user", "content": QUESTION}],
                "max_tokens": 24,
                "temperature": 0,
            },
            timeout=120,
        ).json()
    text = answer["choices"][0]["message"]["content"]
    assert text == "Tom has 3 apples and 4 more apples, so he has 3 + 4 = 7 apples."
