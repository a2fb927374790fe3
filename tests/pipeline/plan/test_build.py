"""Plans: order, command lines, environments, ids."""

from __future__ import annotations

import shlex
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pipeline.experiment.load import load_experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Plan, PlanModel
from pipeline.plan.text import plan_lines, shell_command

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
MODEL = PlanModel(path="m", served_name="m", tokenizer="m")


def planned(name: str, *overrides: str, **kwargs: Any) -> Plan:
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml", overrides, **kwargs)
    path = experiment.model.path
    model = MODEL if path is None else PlanModel(path=path, served_name=path, tokenizer=path)
    return make_plan(experiment, model=model, python="/py", cores=2)


# The speed study's server settings (sglang#23713's description), as SGLang 0.5.23 takes them.
STUDY = """
    --model-path ../Qwen3.5-397B-A17B-FP8 --host 0.0.0.0 --port 8000 --tp-size 8 --ep-size 4
    --quantization fp8 --kv-cache-dtype fp8_e4m3 --max-running-requests 128 --prefill-max-requests 1
    --max-prefill-tokens 131072 --chunked-prefill-size 65536
    --cuda-graph-bs-decode 1 2 4 8 12 16 24 32 48 64 96 128
    --moe-a2a-backend none --prefill-attention-backend fa3 --decode-attention-backend trtllm_mha
    --linear-attn-prefill-backend triton --linear-attn-decode-backend triton
    --fp8-gemm-backend deep_gemm --moe-runner-backend triton --mamba-ssm-dtype bfloat16
    --random-seed 0 --watchdog-timeout 3600 --skip-server-warmup
    --model-loader-extra-config '{"enable_multithread_load": true}' --enable-multimodal
    --disable-radix-cache --incremental-streaming-output --enable-layerwise-nvtx-marker
"""


def flag_groups(argv: list[str]) -> set[tuple[str, ...]]:
    groups: list[list[str]] = []
    for word in argv:
        if word.startswith("--"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return {tuple(group) for group in groups}


@pytest.mark.parametrize("dp", [2, 4, 8])
@pytest.mark.parametrize(
    ("arm", "flags", "env"),
    [
        ("nccl", set(), {}),
        ("nccl-symmetric", {("--enable-symm-mem",), ("--enable-nccl-nvls",)}, {}),
        ("mixed-comm", set(), {"SGLANG_USE_MIXED_COMM": "1"}),
    ],
)
@pytest.mark.parametrize(("study", "memory"), [("speed", "0.84"), ("accuracy", "0.83")])
def test_the_study_is_reproduced_flag_for_flag(
    study: str, memory: str, arm: str, flags: set[tuple[str, ...]], env: dict[str, str], dp: int
) -> None:
    plan = planned(f"qwen3.5-mixedcomm-{study}")
    matching = [x for x in plan.launches if x.arm == arm and x.layout.attention_dp == dp]
    if study == "accuracy" and arm == "nccl-symmetric":
        assert not matching
        return
    assert len(matching) == plan.launches_per_arm
    for launch in matching:
        assert launch.argv[:3] == ["/py", "-m", "sglang.launch_server"]
        wanted = flag_groups(shlex.split(STUDY)) | flags
        wanted |= {("--attn-dp-size", str(dp)), ("--mem-fraction-static", memory)}
        assert flag_groups(launch.argv[3:]) == wanted
        plugins = "servegate_mixed_comm" if arm == "mixed-comm" else "none"
        assert launch.env == {
            "SGLANG_PLUGINS": plugins,
            "SPT_NOENV": "1",
            "SGLANG_OPT_USE_CUSTOM_ALL_REDUCE_V2": "0",
            **env,
        }


def test_the_speed_study_is_three_backends_by_three_sizes_in_every_block() -> None:
    plan = planned("qwen3.5-mixedcomm-speed")
    for block in range(plan.launches_per_arm):
        cells = {(x.arm, x.layout.attention_dp) for x in plan.launches if x.block == block}
        assert cells == set(product(("nccl", "nccl-symmetric", "mixed-comm"), (2, 4, 8)))


def test_arms_of_one_layout_follow_one_another_in_counterbalanced_order() -> None:
    plan = planned("cpu-demo", "launches=4")
    assert [launch.arm for launch in plan.launches] == [
        "nccl", "mixed-comm", "mixed-comm", "nccl", "nccl", "mixed-comm", "mixed-comm", "nccl",
    ]  # fmt: skip
    assert [launch.index for launch in plan.launches] == list(range(8))
    assert plan.launches[2].id == "02-mixed-comm-dp2"


def test_layouts_turn_round_with_each_block() -> None:
    plan = planned("fake", "launches=2")
    sizes = [launch.layout.attention_dp for launch in plan.launches[::4]]
    assert sizes == [2, 4, 8, 8, 4, 2]


def test_a_switch_exported_in_the_shell_cannot_reach_the_other_arms() -> None:
    plan = planned("fake")
    for launch in plan.launches:
        switch = "SGLANG_USE_MIXED_COMM"
        assert (switch in launch.env) == (launch.arm == "mixed-comm")
        assert (switch in launch.env_unset) == (launch.arm != "mixed-comm")
    default = next(launch for launch in plan.launches if launch.arm == "default")
    assert "SGLANG_OPT_USE_CUSTOM_ALL_REDUCE_V2" in default.env_unset


def test_equal_experiments_have_equal_plans_and_others_other_hashes() -> None:
    assert planned("fake") == planned("fake")
    hashes = {
        planned("fake").hash,
        planned("fake", "launches=2").hash,
        planned("fake", "alpha=0.01").hash,
        planned("fake", "gates.latency.median_itl_ms.margin=0.05").hash,
    }
    assert len(hashes) == 4


def test_a_job_can_be_limited_to_the_first_launches() -> None:
    plan = planned("fake")
    for launch in plan.launches:
        jobs = [cell.job for cell in launch.cells]
        assert jobs == (["gsm8k", "latency"] if launch.block == 0 else ["latency"])


def test_every_default_is_written_into_the_plan() -> None:
    plan = planned("fake")
    assert plan.jobs["latency"]["runs"] == 1
    assert plan.jobs["gsm8k"]["max_error_rate"] == 0.0
    assert plan.launches[0].cells[0].settings == plan.jobs["gsm8k"]


def test_mixed_comm_without_attention_dp_is_unsupported_not_silently_the_baseline() -> None:
    plan = planned("fake", "layouts.0.attention_dp=[1, 2]")
    why = {(launch.arm, launch.layout.attention_dp): launch.unsupported for launch in plan.launches}
    assert "without attention DP" in why["mixed-comm", 1]
    assert not why["mixed-comm", 2]
    assert not why["nccl", 1]


def test_older_sglang_gets_the_older_spelling_of_attention_dp() -> None:
    plan = planned("cpu-demo", "engine.version=0.5.16")
    argv = plan.launches[0].argv
    assert argv[argv.index("--dp-size") + 1] == "2"
    assert "--enable-dp-attention" in argv
    assert "--attn-dp-size" not in argv


def test_a_fixed_port_is_written_and_a_free_one_left_open() -> None:
    assert "{port}" in planned("fake").launches[0].argv
    fixed = planned("fake", "server.port=8123").launches[0].argv
    assert fixed[fixed.index("--port") + 1] == "8123"


def test_arm_flags_win_over_shared_ones_and_null_takes_a_flag_out() -> None:
    plan = planned(
        "fake",
        "server.args={page-size: 1, log-level: info}",
        "arms.nccl.args={page-size: 64, log-level: null, enable-metrics: true, skip: false}",
    )
    argv = next(launch for launch in plan.launches if launch.arm == "nccl").argv
    assert argv[argv.index("--page-size") + 1] == "64"
    assert "--enable-metrics" in argv
    assert "--log-level" not in argv
    assert "--skip" not in argv


def test_the_printed_command_is_one_that_a_shell_takes_apart_again() -> None:
    launch = planned("qwen3.5-mixedcomm-speed").launches[0]
    words = shlex.split(shell_command(launch))
    assert words[-len(launch.argv) :] == launch.argv
    text = "\n".join(plan_lines(planned("fake")))
    assert "cost: 36 server launches (3 for each of 4 arms on 3 layouts)" in text
    assert "12 x gsm8k, 36 x latency" in text


def test_a_server_that_nsys_traces_is_started_under_it_and_no_other_is() -> None:
    job = "jobs.kernels={kind: comm-kernels, capture: nsys}"
    plan = planned("fake", job)
    under = {cell.job: launch.under for launch in plan.launches for cell in launch.cells}
    assert under["latency"] == []
    assert under["kernels"][:2] == ["nsys", "launch"]
    traced = next(launch for launch in plan.launches if launch.under)
    assert [cell.job for cell in traced.cells] == ["kernels"]
    assert " nsys launch --session-new=servegate-{port} " in shell_command(traced).replace("'", "")
    assert not any(
        launch.under for launch in planned("fake", job.replace("nsys", "torch")).launches
    )
