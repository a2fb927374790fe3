"""Arms are compared only if they differ in nothing but what the experiment declares."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.gate import Judgement, Verdict, judge
from pipeline.plan.model import Plan
from pipeline.records.facts import Facts, resolved_arguments, telling
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"


def facts_of(arm: str) -> Facts:
    return Facts(
        arguments={"page_size": 1, "max_total_num_tokens": 100_000, "chunked_prefill_size": 4096},
        environment={"ARM": arm, "NCCL_DEBUG": "WARN"},
        rank_environment={"ARM": arm, "NCCL_NVLS_ENABLE": "0"},
        packages={"torch": "2.14.1", "nvidia-nccl-cu13": "2.30.7"},
        libraries={"libnccl.so.2": "/lib/libnccl.so.2, 252204648 bytes"},
        machine={"host": "node-1", "cores": 8},
        gpu={"driver": "580.1", "gpus": [{"name": "H200", "power_limit_w": 700.0}]},
    )


def made(plan: Plan | None = None) -> MadeRun:
    run = make_run(plan if plan is not None else make_plan_for_test(dps=(2,)))
    run.facts = {launch.id: facts_of(launch.arm) for launch in run.plan.launches}
    return run


def change(run: MadeRun, arm: str, part: str, **values: Any) -> None:
    """Change facts of the arm's second launch."""
    launch = [launch for launch in run.plan.launches if launch.arm == arm][1]
    old = run.facts[launch.id]
    run.facts[launch.id] = old.model_copy(update={part: {**getattr(old, part), **values}})


def judged(run: MadeRun) -> Judgement:
    return judge(run.plan, run.records.values(), run.read, run.facts)


def said(run: MadeRun) -> str:
    """Why nothing is compared; the verdicts must all be missing."""
    found = judged(run)
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    [row] = [row for row in found.rows if row.arm == ARM]
    gated = [check for check in row.checks if check.gated]
    assert {check.verdict for check in gated} == {Verdict.MISSING}
    assert len(gated) == 2
    return gated[0].reason


def test_arms_that_differ_in_what_is_declared_are_compared() -> None:
    found = judged(made())
    assert (found.verdict, found.facts_kept) == (Verdict.PASS, True)


@pytest.mark.parametrize(
    ("part", "values", "name"),
    [
        ("arguments", {"page_size": 64}, "arguments.page_size is 64 in 02-mixed-comm-dp2 and 1 in"),
        ("arguments", {"new": True}, "arguments.new is True in 02-mixed-comm-dp2 and not there in"),
        ("environment", {"NCCL_ALGO": "Ring"}, "environment.NCCL_ALGO"),
        ("rank_environment", {"NCCL_NVLS_ENABLE": "1"}, "rank_environment.NCCL_NVLS_ENABLE"),
        ("packages", {"torch": "2.15.0"}, "packages.torch is 2.15.0"),
        ("packages", {"nvidia-nccl-cu13": "2.31.0"}, "packages.nvidia-nccl-cu13"),
        ("libraries", {"libnccl.so.2": "/opt/libnccl.so.2"}, "libraries.libnccl.so.2"),
        ("machine", {"host": "node-2"}, "machine.host is node-2"),
        ("gpu", {"driver": "590.2"}, "gpu.driver is 590.2"),
        ("gpu", {"gpus": [{"name": "H200", "power_limit_w": 500.0}]}, "gpu.gpus.0.power_limit_w"),
    ],
)
def test_an_undeclared_difference_is_named(part: str, values: dict[str, Any], name: str) -> None:
    run = made()
    change(run, ARM, part, **values)
    reason = said(run)
    assert reason.startswith(f"not comparable: the arms differ in what nobody declared: {name}")
    assert reason.endswith("say so in arms.mixed-comm.differs")


def test_it_may_be_declared() -> None:
    plan = make_plan_for_test(dps=(2,))
    arms = [
        arm.model_copy(update={"differs": ["packages.torch", "arguments.page_*"]})
        if arm.name == ARM
        else arm
        for arm in plan.arms
    ]
    run = made(plan.model_copy(update={"arms": arms}))
    change(run, ARM, "packages", torch="2.15.0")
    change(run, ARM, "arguments", page_size=64)
    assert judged(run).verdict is Verdict.PASS
    change(run, ARM, "machine", cores=4)
    assert "machine.cores" in said(run)


def test_a_flag_or_variable_of_an_arm_is_declared_by_it() -> None:
    plan = make_plan_for_test(dps=(2,))
    arms = [
        arm.model_copy(update={"args": {"page-size": 64}}) if arm.name == ARM else arm
        for arm in plan.arms
    ]
    run = made(plan.model_copy(update={"arms": arms}))
    change(run, ARM, "arguments", page_size=64)
    assert judged(run).verdict is Verdict.PASS


def test_the_reference_must_agree_with_itself() -> None:
    run = made()
    change(run, "nccl", "gpu", driver="590.2")
    assert "launches of the reference differ in what nobody declared: gpu.driver" in said(run)


def test_sizes_that_follow_from_free_memory_may_differ_a_little() -> None:
    run = made()
    change(run, ARM, "arguments", max_total_num_tokens=96_000)
    assert judged(run).verdict is Verdict.PASS
    change(run, ARM, "arguments", max_total_num_tokens=90_000)
    assert "max_total_num_tokens is 90000" in said(run)


def test_lost_facts_are_no_agreement() -> None:
    run = made()
    del run.facts["02-mixed-comm-dp2"]
    assert "02-mixed-comm-dp2 has no facts.json" in said(run)


def test_a_run_that_kept_none_says_so() -> None:
    run = made()
    run.facts = {}
    found = judged(run)
    assert (found.verdict, found.facts_kept) == (Verdict.PASS, False)


def test_many_differences_are_counted() -> None:
    run = made()
    change(run, ARM, "arguments", **{f"key_{n}": n for n in range(7)})
    assert " and 3 more. " in said(run)


def test_what_a_launch_draws_anew_is_no_argument() -> None:
    info = {
        "port": 1, "nccl_port": 2, "random_seed": 3, "page_size": 1, "startup_time": {},
        "scheduler_pids": [1], "internal_states": [{}], "_private": 1, "status": "ready",
    }  # fmt: skip
    assert resolved_arguments(info, planned=frozenset({"port"})) == {"page_size": 1}
    secret = {"api_key": "sk-1", "admin_api_key": None, "tokenizer_path": "p"}
    assert resolved_arguments(secret, planned=frozenset()) == {
        "admin_api_key": None, "api_key": "(hidden)", "tokenizer_path": "p",
    }  # fmt: skip
    seeded = resolved_arguments(info, planned=frozenset({"random_seed"}))
    assert seeded == {"page_size": 1, "random_seed": 3}


def test_telling_variables() -> None:
    one = {"NCCL_ALGO": "Ring", "HOME": "/home", "SGLANG_RUN_ID": "a", "SGLANG_API_KEY": "x"}
    other = {**one, "NCCL_ALGO": "Tree"}
    assert telling(one) == {"NCCL_ALGO": "Ring", "SGLANG_API_KEY": "(hidden)"}
    assert telling(one, other)["NCCL_ALGO"] == "Ring | Tree"
    assert telling(one, {})["NCCL_ALGO"] == "Ring | (unset)"
