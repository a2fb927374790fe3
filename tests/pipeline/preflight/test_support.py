"""Which launches a machine can run: every reason fires on one machine and not on another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launchers.machine.host import EnginePackages, Host
from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Plan, PlanModel
from pipeline.preflight.support import marked, unsupported_here

GPU = {"name": "NVIDIA H200", "capability": "9.0", "memory_mib": 143771, "mig": False}
HOST = Host(gpus=[GPU] * 8, driver="580.1", cuda="13.0", no_multicast="")
ENGINE = EnginePackages(versions={"sglang": "0.5.23", "flashinfer-python": "0.7.2"})
PRESETS = ("default", "nccl", "nccl-symmetric", "mixed-comm")


def plan(
    *, tp: int = 8, nodes: int = 1, engine: str = "sglang", device: str = "cuda", **arms: Any
) -> Plan:
    given = arms or {name.replace("-", "_"): {"preset": name} for name in PRESETS}
    experiment = Experiment.model_validate(
        {
            "name": "made-up",
            "model": {"path": "org/model"},
            "engine": {"name": engine, "device": device},
            "layouts": [{"tp": tp, "attention_dp": [2], "nodes": nodes}],
            "arms": given,
            "reference": next(iter(given)),
            "jobs": {"gsm8k": {"kind": "accuracy"}},
        }
    )
    model = PlanModel(path="org/model", served_name="org/model", tokenizer="org/model")
    return make_plan(experiment, model=model, python="/py", cores=8)


def why(
    made: Plan, host: Host = HOST, engine: EnginePackages = ENGINE, not_built: str = ""
) -> dict[str, str]:
    """The reason by arm."""
    found = unsupported_here(made, host, engine, lambda: not_built)
    arms = {launch.id: launch.arm for launch in made.launches}
    return {arms[launch]: reason for launch, reason in found.items()}


def test_everything_runs_on_eight_gpus_with_multicast() -> None:
    assert why(plan()) == {}


def test_too_few_gpus() -> None:
    one = replace(HOST, gpus=[GPU])
    assert set(why(plan(), one).values()) == {"needs 8 GPUs, this machine has 1"}
    assert len(why(plan(), one)) == 4
    assert len(why(plan(), Host())) == 4
    assert why(plan(tp=2), replace(HOST, gpus=[GPU] * 2)) == {}


def test_pipeline_stages_need_gpus_of_their_own() -> None:
    made = plan(tp=4, one={}, two={"args": {"pp-size": 2}}, three={"args": {"pp-size": 1}})
    four = replace(HOST, gpus=[GPU] * 4)
    assert why(made, four) == {"two": "needs 8 GPUs, this machine has 4"}
    assert why(made) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forbidden": ["SERVEGATE_FORBID_MULTICAST=1"]}, "this host forbids (SERVEGATE_FORBID"),
        ({"no_multicast": "the driver says no"}, "needs NVLink multicast: the driver says no"),
        ({"no_multicast": "not asked"}, "needs NVLink multicast: not asked"),
    ],
)
def test_without_multicast_only_the_arms_that_need_it_stay(
    changes: dict[str, Any], said: str
) -> None:
    found = why(plan(), replace(HOST, **changes))
    assert set(found) == {"nccl_symmetric", "mixed_comm"}
    assert all(said in reason for reason in found.values())


def test_a_free_arm_that_asks_for_symmetric_memory_needs_it_too() -> None:
    made = plan(
        mine={"args": {"enable-symm-mem": True}}, other={"args": {"enable-symm-mem": False}}
    )
    assert set(why(made, replace(HOST, no_multicast="no"))) == {"mine"}


def test_what_all_arms_share_counts_as_their_own() -> None:
    """A flag under server.args reaches every server, whatever the arm is called."""
    made = plan(one={"preset": "nccl"}, two={"preset": "default"})
    shared = [
        launch.model_copy(update={"argv": [*launch.argv, "--enable-symm-mem"]})
        for launch in made.launches
    ]
    forbids = replace(HOST, forbidden=["X=1"])
    assert set(why(made.model_copy(update={"launches": shared}), forbids)) == {"one", "two"}
    assert why(made, forbids) == {}


def test_an_arm_that_compiles_in_the_server_needs_all_but_the_build() -> None:
    made = plan(mine={"preset": "mixed-comm", "env": {"SERVEGATE_MIXED_COMM_BUILD": "1"}})
    assert why(made, not_built="not built") == {}
    assert "needs NVLink multicast" in why(made, replace(HOST, no_multicast="no"))["mine"]
    old = replace(HOST, gpus=[{**GPU, "capability": "8.0"}] * 8)
    assert "compute capability" in why(made, old)["mine"]


def test_the_reference_handler_needs_neither_multicast_nor_kernels() -> None:
    env = {"SERVEGATE_MIXED_COMM_HANDLER": "reference"}
    made = plan(mine={"preset": "mixed-comm", "env": env})
    assert why(made, replace(HOST, no_multicast="no"), EnginePackages(), "not built") == {}


@pytest.mark.parametrize("capability", ["10.3", "12.0", "8.0"])
def test_another_compute_capability(capability: str) -> None:
    found = why(plan(), replace(HOST, gpus=[{**GPU, "capability": capability}] * 8))
    reason = f"MixedComm needs compute capability 9.0 or 10.0, not {capability}"
    assert found == {"mixed_comm": reason}


def test_a_card_split_by_mig() -> None:
    found = why(plan(tp=2), replace(HOST, gpus=[{**GPU, "mig": True}] * 2))
    assert len(found) == 4


@pytest.mark.parametrize(
    ("engine", "not_built", "said"),
    [
        (EnginePackages(), "", "FlashInfer is not installed for the engine"),
        (EnginePackages(problem="no python"), "", "for the engine: no python"),
        (EnginePackages(versions={"flashinfer-python": "0.6.14"}), "", "FlashInfer 0.6.14 has no"),
        (ENGINE, "x.so does not exist", "x.so does not exist; run servegate doctor --build"),
    ],
)
def test_flashinfer_and_its_kernels(engine: EnginePackages, not_built: str, said: str) -> None:
    found = why(plan(), HOST, engine, not_built)
    assert set(found) == {"mixed_comm"}
    assert said in found["mixed_comm"]


def test_the_build_is_asked_for_only_where_an_arm_would_run() -> None:
    def never() -> str:
        raise AssertionError

    assert unsupported_here(plan(), replace(HOST, gpus=[GPU]), ENGINE, never)
    assert unsupported_here(plan(n={"preset": "nccl"}), HOST, ENGINE, never) == {}


def test_sixteen_ranks_and_two_nodes() -> None:
    many = replace(HOST, gpus=[GPU] * 16)
    assert why(plan(tp=16), many) == {
        "mixed_comm": "MixedComm's kernels are for 2, 4 or 8 ranks, not 16"
    }
    assert len(why(plan(tp=16, nodes=2), many)) == 4


def test_on_a_cpu_symmetric_memory_is_switched_off() -> None:
    found = why(plan(tp=4, device="cpu"), Host(), EnginePackages())
    assert set(found) == {"nccl_symmetric"}


def test_the_fake_engine_runs_everything() -> None:
    assert why(plan(engine="fake"), Host(), EnginePackages()) == {}


def test_marking_keeps_the_hash_and_what_means_nothing_anywhere() -> None:
    made = plan()
    first = made.launches[0].id
    after = marked(made, {first: "no GPU"})
    assert after.hash == made.hash
    assert [launch.unsupported for launch in after.launches] == ["no GPU", "", "", ""]
    assert marked(after, {first: "another"}).launches[0].unsupported == "no GPU"
