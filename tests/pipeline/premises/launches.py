"""Claims and evidence of made-up launches, right in everything until a test changes something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import PlanModel
from pipeline.premises import Claims, Evidence


def claims(
    preset: str | None = "nccl",
    *,
    dp: int = 2,
    device: str = "cuda",
    model_path: str = "org/model",
    served_name: str | None = None,
    **arm: Any,
) -> Claims:
    """The launch of the one arm `arm` on TP 4."""
    experiment = Experiment.model_validate(
        {
            "name": "made-up",
            "model": {"path": "org/model"},
            "engine": {"name": "sglang", "device": device},
            "server": {"args": {"chunked-prefill-size": 8192, "random-seed": 0}},
            "layouts": [{"tp": 4, "attention_dp": [dp]}],
            "arms": {"arm": {"preset": preset, **arm}},
            "reference": "arm",
            "jobs": {"gsm8k": {"kind": "accuracy"}},
        }
    )
    name = model_path if served_name is None else served_name
    model = PlanModel(path=model_path, served_name=name, tokenizer=model_path)
    plan = make_plan(experiment, model=model, python="/usr/bin/python3", cores=8)
    return Claims.of(plan, plan.launches[0])


def witness(rank: int, *, dp: int = 2, **changes: Any) -> dict[str, Any]:
    """What the plugin writes of one rank."""
    pair = ("ALLREDUCE_ALLGATHER", "REDUCESCATTER_ALLREDUCE")
    if dp == 4:
        pair = ("ALLGATHER", "REDUCESCATTER")
    return {
        "rank": rank,
        "handler": "reference",
        "idle_reason": None,
        "operations": dict.fromkeys(pair, 60),
        "passed_through": {"dtype": 2},
        **changes,
    }


def evidence(of: Claims, **changes: Any) -> Evidence:
    """What a launch leaves that is what it claims."""
    dp = of.layout.attention_dp
    info: dict[str, Any] = {
        "tp_size": 4, "ep_size": 1, "attn_dp_size": dp, "dp_size": 1, "nnodes": 1,
        "model_path": "org/model", "random_seed": 0, "chunked_prefill_size": 8192 // dp,
        "enable_symm_mem": False, "enable_nccl_nvls": False,
    }  # fmt: skip
    flags = {name.replace("-", "_"): value for name, value in of.arm.args.items()}
    environ = dict(of.launch.env)
    symmetric = of.arm.args.get("enable-symm-mem") is True
    nccl = {"NCCL_CUMEM_ENABLE": "1", "NCCL_NVLS_ENABLE": "1"} if symmetric else {}
    ranks: Mapping[int, Mapping[str, str]] = {100 + rank: {**environ, **nccl} for rank in range(4)}
    active = [f"[TP{rank}] MIXEDCOMM_PLUGIN active rank={rank} op-handler=x" for rank in range(4)]
    right: dict[str, Any] = {
        "server_info": {**info, **flags},
        "environ": environ,
        "rank_environs": ranks,
        "witnesses": [witness(rank, dp=dp) for rank in range(4)] if of.mixed_comm else [],
        "signs": {"mixed-comm active": active} if of.mixed_comm else {},
    }
    return Evidence(**{**right, **changes})
