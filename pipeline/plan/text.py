"""A plan as lines for a person: every launch with its whole command line and environment."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from pipeline.plan.equal_arms import repeats_line
from pipeline.plan.model import Launch, Plan

__all__ = ["plan_lines", "shell_command"]


def shell_command(launch: Launch) -> str:
    """The launch as one line that a shell runs; ``{port}`` stands for the port to choose."""
    unset = [f"-u {name}" for name in launch.env_unset]
    env = [f"{name}={shlex.quote(value)}" for name, value in launch.env.items()]
    words = [
        shlex.quote(word) if word != "{port}" else word for word in [*launch.under, *launch.argv]
    ]
    return " ".join(["env", *unset, *env, *words])


def plan_lines(plan: Plan, lacking: Sequence[str] = ()) -> list[str]:
    """Heading, one paragraph a launch in order, and what it all costs in launches and cells.

    Args:
        plan: The plan.
        lacking: Why nothing of it can run on this machine, told first; empty where it can.
    """
    lines = [
        *(f"cannot run here: {text}" for text in lacking),
        f"{plan.experiment}: plan {plan.hash}",
        f"engine: {plan.engine} ({plan.device}, flags of SGLang {plan.engine_version})",
        f"model: {plan.model.path}",
        f"reference arm: {plan.reference}; arms: {', '.join(arm.name for arm in plan.arms)}",
        *repeats_line(plan),
        "",
    ]
    for launch in plan.launches:
        lines.append(
            f"[{launch.index + 1}] {launch.id}  ({launch.layout}, block {launch.block + 1})"
        )
        if launch.optional:
            lines.append("    optional: bought only while a gated speed is undecided")
        if launch.unsupported:
            lines.append(f"    unsupported, not started: {launch.unsupported}")
        lines.append(f"    {shell_command(launch)}")
        jobs = ", ".join(cell.job for cell in launch.cells)
        lines.append(f"    jobs: {jobs}" if jobs else "    jobs: none on this launch")
    planned = [launch for launch in plan.launches if not launch.optional]
    cells = Counter(cell.job for launch in planned for cell in launch.cells)
    started = sum(1 for launch in planned if not launch.unsupported)
    optional = len(plan.launches) - len(planned)
    beside = f"; up to {optional} more launches while a gated speed is undecided" * bool(optional)
    lines += [
        "",
        f"cost: {started} server launches ({plan.launches_per_arm} for each of {len(plan.arms)} "
        f"arms on {len(plan.layouts)} layouts); cells: "
        + ", ".join(f"{count} x {job}" for job, count in cells.items())
        + beside,
        f"gates: {_gates(plan)}",
    ]
    return lines


def _gates(plan: Plan) -> str:
    gates = [
        f"{job}.{metric} within {gate.margin:g}"
        for job, metrics in plan.gates.items()
        for metric, gate in metrics.items()
    ]
    if not gates:
        return "none: the verdict will be missing"
    return ", ".join(gates) + f" (alpha {plan.alpha:g})"
