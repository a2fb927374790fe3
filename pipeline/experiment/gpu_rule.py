"""Whether a cell's GPUs kept the experiment's rule while it was measured; pure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GpuRule", "breach"]

Reason = Literal[
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
]


class GpuRule(BaseModel):
    """When a latency cell does not count, fixed before anything is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    reasons: list[Reason] = Field(
        default=[
            "hw_slowdown",
            "sw_thermal_slowdown",
            "hw_thermal_slowdown",
            "hw_power_brake_slowdown",
        ],
        min_length=1,
        description="Throttle reasons that must not hold. sw_power_cap is not among them unless "
        "named: at full load many cards are always at their power limit.",
    )
    share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="In which share of the samples of a busy GPU each of them may hold.",
    )
    max_temperature_c: float | None = Field(default=None, gt=0, description="No GPU gets hotter.")


def breach(rule: GpuRule, summary: dict[str, Any]) -> tuple[str, str] | None:
    """Class and reason why a cell must not count; None if it may.

    Args:
        rule: The experiment's.
        summary: What :meth:`launchers.machine.gpu_sampler.Sampling.summary` gave. A rule that
            cannot be checked is not kept.
    """
    gpus = summary["gpus"]
    if summary["problem"] or not gpus:
        what = summary["problem"] if gpus or summary["problem"] else "no sample was taken"
        return "unsampled", f"gpu_rule cannot be checked: {what}"
    for gpu in gpus:
        if gpu["busy_samples"] is None:
            return "unsampled", f"gpu_rule cannot be checked: GPU {gpu['gpu']} tells no reasons"
        for reason in rule.reasons:
            seen = gpu["limited"].get(reason, 0.0)
            if seen > rule.share:
                return "throttled", (
                    f"GPU {gpu['gpu']}: {reason} in {seen:.1%} of its samples, and gpu_rule allows "
                    f"{rule.share:.1%}"
                )
        if (problem := _too_hot(rule, gpu)) is not None:
            return problem
    return None


def _too_hot(rule: GpuRule, gpu: dict[str, Any]) -> tuple[str, str] | None:
    if rule.max_temperature_c is None:
        return None
    if gpu["temperature_c"] is None:
        return "unsampled", f"gpu_rule cannot be checked: GPU {gpu['gpu']} tells no temperature"
    hottest = gpu["temperature_c"]["max"]
    if hottest <= rule.max_temperature_c:
        return None
    allowed = f"and gpu_rule allows {rule.max_temperature_c:g}"
    return "throttled", f"GPU {gpu['gpu']} was at {hottest:g} degrees Celsius, {allowed}"
