"""How many launches each gate on a speed needs, and what they do not meet, before they are run."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import pytest

from pipeline.experiment.model import Experiment
from pipeline.power import JobBasis, launch_lines, measured_basis, speed_powers
from pipeline.power.basis import assumed_spread
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run
from tests.pipeline.runs import LATENCY, accuracy_job, experiment, servegate

LOAD: dict[str, Any] = {"kind": "latency", "input_len": 64, "output_len": 16, "concurrency": 2}
NOISY = {"p99_itl_ms": {"margin": 0.05}}


def made(gates: dict[str, Any], **changes: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "planned",
            "model": {"path": "org/model"},
            "layouts": [{"tp": 4, "attention_dp": [2]}],
            "arms": {"nccl": {"preset": "nccl"}, "mixed-comm": {"preset": "mixed-comm"}},
            "reference": "nccl",
            "launches": 3,
            "jobs": {"latency": LOAD},
            "gates": {"latency": gates},
            **changes,
        }
    )


def lines(of: Experiment, spreads: dict[str, float] | None = None) -> list[str]:
    basis = {} if spreads is None else {"latency": JobBasis(spreads=spreads, source="measured")}
    return launch_lines(speed_powers(of, basis), of.alpha)


def test_a_plan_says_what_each_gate_needs() -> None:
    gates = {"median_itl_ms": {"margin": 0.03}, "output_throughput": {"margin": 0.03}}
    quiet, noisy, *modes = lines(made(gates), {"median_itl_ms": 0.003, "output_throughput": 0.044})
    assert quiet.startswith("latency median_itl_ms within 0.03: 2 launches pass an equal arm")
    assert quiet.endswith("; 3 planned; spread of a difference 0.3 % (measured)")
    assert "3 planned, too few; spread of a difference 4.4 %" in noisy
    assert [one.launches_needed for one in speed_powers(made(gates), {})] == [3, 15]
    third, tenth = modes
    assert third.startswith("where one launch in 3 of an arm is slow, none of 3 launches shows it")
    assert third.endswith("with 30%; 8 launches leave 5%")
    assert tenth.endswith("with 73%; 29 launches leave 5%")


def test_launches_that_may_be_bought_are_enough() -> None:
    gates = {"median_itl_ms": {"margin": 0.03}}
    told = lines(made(gates, sequential={"max_launches": 9}), {"median_itl_ms": 0.02})[0]
    assert "; 3 to 9 planned; " in told


def test_a_tail_is_not_taken_for_a_median() -> None:
    [tail] = speed_powers(made(NOISY), {})
    assert tail.launches_needed is None
    assert "more than 200 launches" in lines(made(NOISY))[0]
    assert assumed_spread("p99_itl_ms")[0] > 30 * assumed_spread("median_itl_ms")[0]


def test_one_arm_or_one_launch_says_nothing() -> None:
    assert lines(made(NOISY, arms={"nccl": {}})) == []
    assert lines(made(NOISY, launches=1)) == []


def run_of(arms: tuple[str, ...], logs: dict[str, list[float]]) -> MadeRun:
    gates = {"load": {"median_itl_ms": {"margin": 0.03}}}
    run = make_run(
        make_plan_for_test(arms=arms, dps=(2,), launches=3, jobs={"load": LOAD}, gates=gates)
    )
    for cell, record in run.records.items():
        run.change(cell, metrics={"median_itl_ms": 5 * exp(logs[record.arm][record.block])})
    return run


def test_launches_of_equal_arms_are_one_sample() -> None:
    logs = {"nccl": [0.01, -0.01, 0.0], "again": [0.0, 0.02, -0.02], "mixed-comm": [0.3, 0.0, 0.2]}
    run = run_of(("nccl", "again", "mixed-comm"), logs)
    own = next(arm for arm in run.plan.arms if arm.name == "nccl")
    again = own.model_copy(update={"name": "again"})
    arms = [again if arm.name == "again" else arm for arm in run.plan.arms]
    plan = run.plan.model_copy(update={"arms": arms})
    seen = measured_basis(plan, run.records.values(), run.read)["load"]
    # Six launches with a sum of squares of 0.001 about zero; the arm that differs is left out.
    assert seen.spreads["median_itl_ms"] == pytest.approx((2 * 0.001 / 5) ** 0.5)
    assert "equal arms (again, nccl)" in seen.source


def test_without_equal_arms_blocks_are_compared() -> None:
    run = run_of(("nccl", "mixed-comm"), {"nccl": [0.5, 0.0, 0.2], "mixed-comm": [0.51, 0.0, 0.19]})
    seen = measured_basis(run.plan, run.records.values(), run.read)["load"]
    assert seen.spreads["median_itl_ms"] == pytest.approx(0.01)


def test_the_command_plans_with_what_a_run_showed(tmp_path: Path) -> None:
    logs = {"nccl": [0.0, 0.1, 0.05], "mixed-comm": [0.1, 0.0, 0.0]}
    folder = run_of(("nccl", "mixed-comm"), logs).write(tmp_path / "runs")
    file = experiment(
        tmp_path, launches=3, jobs={"gsm8k": accuracy_job(launches=1), "latency": LATENCY},
        gates={"gsm8k": {"score": {"margin": 0.3}}, "latency": {"median_itl_ms": {"margin": 0.03}}},
    )  # fmt: skip
    done = servegate("plan", file, "--variance-from", folder.root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [told] = [line for line in done.stdout.splitlines() if "launches pass an equal arm" in line]
    assert "3 planned, too few" in told
    # The only latency job of that run has another name.
    assert "(measured in the run: launches, under the load of its job load)" in told
    assert "none of 3 launches shows it with 73%" in done.stdout
    assumed = servegate("plan", file, cwd=tmp_path)
    assert "(assumed: launches that differ by 0.5 %)" in assumed.stdout
    assert servegate("plan", file, "--variance-from", tmp_path, cwd=tmp_path).returncode == 2
