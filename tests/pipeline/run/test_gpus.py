"""A cell is dropped for its GPUs by the experiment's rule alone."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from evals.job import Outcome
from launchers.machine.gpu_sampler import Sampling
from pipeline.experiment.gpu_rule import GpuRule, breach
from pipeline.plan.model import Plan
from pipeline.run.gpus import with_gpus
from tests.pipeline.builders import make_plan_for_test


def _seen(limited: dict[str, float] | None = None, **changes: Any) -> dict[str, Any]:
    gpu = {
        "gpu": 3, "samples": 40, "busy_samples": 40, "limited": limited or {},
        "temperature_c": {"min": 40, "median": 60, "max": 75}, **changes,
    }  # fmt: skip
    return {"problem": "", "gpus": [gpu]}


@pytest.mark.parametrize(
    ("rule", "seen", "kind", "text"),
    [
        ({}, _seen({"hw_slowdown": 0.1}), "throttled", "GPU 3: hw_slowdown in 10.0%"),
        ({"share": 0.1}, _seen({"hw_slowdown": 0.11}), "throttled", "allows 10.0%"),
        ({"reasons": ["sw_power_cap"]}, _seen({"sw_power_cap": 1.0}), "throttled", "sw_power_cap"),
        ({"max_temperature_c": 74.0}, _seen(), "throttled", "was at 75 degrees"),
        ({}, {"problem": "", "gpus": []}, "unsampled", "no sample was taken"),
        ({}, {"problem": "NVML: gone", "gpus": []}, "unsampled", "NVML: gone"),
        ({}, _seen() | {"problem": "ended early"}, "unsampled", "ended early"),
        ({}, _seen(busy_samples=None), "unsampled", "GPU 3 tells no reasons"),
        (
            {"max_temperature_c": 74.0}, _seen(temperature_c=None), "unsampled", "no temperature",
        ),
    ],
)  # fmt: skip
def test_a_rule_that_is_broken(
    rule: dict[str, Any], seen: dict[str, Any], kind: str, text: str
) -> None:
    found = breach(GpuRule(**rule), seen)
    assert found is not None
    assert found[0] == kind
    assert text in found[1]


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ({}, _seen()),
        ({}, _seen({"sw_power_cap": 1.0})),  # every card at full load
        ({"share": 0.1}, _seen({"hw_slowdown": 0.1})),
        ({"reasons": ["hw_slowdown"]}, _seen({"hw_thermal_slowdown": 0.5})),
        ({"max_temperature_c": 75.0}, _seen()),
    ],
)
def test_a_rule_that_is_kept(rule: dict[str, Any], seen: dict[str, Any]) -> None:
    assert breach(GpuRule(**rule), seen) is None


@pytest.mark.parametrize("rule", [{"reasons": ["heat"]}, {"reasons": []}, {"share": 1.0}])
def test_a_rule_that_is_none(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GpuRule(**rule)


class _Throttled(Sampling):
    def summary(self) -> dict[str, Any]:
        return _seen({"hw_thermal_slowdown": 0.5})


def _judged(plan: Plan, job: str) -> Outcome:
    (cell,) = (cell for cell in plan.launches[0].cells if cell.job == job)
    return with_gpus(plan, cell, Outcome(status="ok", metrics={"median_itl_ms": 1.0}), _Throttled())


def test_only_a_latency_cell_and_only_by_the_rule() -> None:
    plan = make_plan_for_test()
    ruled = plan.model_copy(update={"gpu_rule": GpuRule()})
    kept = _judged(plan, "latency")
    assert (kept.status, kept.details["gpu"]["gpus"][0]["gpu"]) == ("ok", 3)
    dropped = _judged(ruled, "latency")
    assert (dropped.status, dropped.failure_class) == ("invalid", "throttled")
    assert "hw_thermal_slowdown in 50.0%" in dropped.reason
    assert dropped.metrics == {"median_itl_ms": 1.0}
    assert _judged(ruled, "gsm8k").status == "ok"
