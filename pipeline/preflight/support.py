"""Which launches of a plan this machine can run, and why not the others; pure."""

from __future__ import annotations

from collections.abc import Callable

from launchers.backends import BACKENDS, MIXED_COMM_PLUGIN
from launchers.machine.host import EnginePackages, Host
from pipeline.plan.model import ArmPlan, Launch, Plan
from pipeline.premises.arguments import asked_flags
from servegate_sglang.mixed_comm.requirements import CAPABILITIES, GROUP_SIZES, OLDEST_FLASHINFER
from servegate_sglang.mixed_comm.settings import BUILD_VARIABLE, HANDLER_VARIABLE, HandlerChoice

__all__ = ["marked", "unsupported_here"]


def unsupported_here(
    plan: Plan, host: Host, engine: EnginePackages, not_built: Callable[[], str]
) -> dict[str, str]:
    """Launches that must not be started on this machine, by id, with the first reason.

    What is not known to be there counts as not there: an arm that needs NVLink multicast is never
    started on a machine that could not be asked.

    Args:
        plan: What is to be run.
        host: This machine.
        engine: The engine's interpreter.
        not_built: Says why FlashInfer's MixedComm kernels are not built; "" if they are. Called at
            most once, and only where an arm would otherwise run, since it takes seconds.
    """
    if plan.engine == "fake":
        return {}
    arms = {arm.name: arm for arm in plan.arms}
    if plan.device == "cpu":
        wrong = {launch.id: _on_cpu(launch) for launch in plan.launches}
        return {launch: reason for launch, reason in wrong.items() if reason}
    found: dict[str, str] = {}
    built: str | None = None
    for launch in plan.launches:
        reason = (
            _gpus(launch, host)
            or _multicast(launch, arms[launch.arm], host)
            or (_mixed_comm(launch, host, engine) if _runs_flashinfer(launch) else "")
        )
        if not reason and _needs_built(launch):
            built = not_built() if built is None else built
            reason = built and f"MixedComm's kernels: {built}; run servegate doctor --build"
        if reason:
            found[launch.id] = reason
    return found


def marked(plan: Plan, unsupported: dict[str, str]) -> Plan:
    """The plan with these launches marked; those that mean nothing anywhere keep their reason.

    The plan's hash stays: it names what was asked for, on any machine.
    """
    launches = [
        launch.model_copy(update={"unsupported": unsupported[launch.id]})
        if launch.id in unsupported and not launch.unsupported
        else launch
        for launch in plan.launches
    ]
    return plan.model_copy(update={"launches": launches})


def _runs_flashinfer(launch: Launch) -> bool:
    if MIXED_COMM_PLUGIN not in launch.env.get("SGLANG_PLUGINS", "").split(","):
        return False
    return launch.env.get(HANDLER_VARIABLE) != HandlerChoice.REFERENCE


def _needs_built(launch: Launch) -> bool:
    return _runs_flashinfer(launch) and launch.env.get(BUILD_VARIABLE) != "1"


def _asks_for(launch: Launch, *flags: str) -> bool:
    """Whether the command line has one of these, from the arm or from what all arms share."""
    return any(flag in launch.argv for flag in flags)


def _on_cpu(launch: Launch) -> str:
    if _asks_for(launch, "--enable-symm-mem"):
        return "symmetric memory is NCCL's, and SGLang switches it off on a CPU"
    return ""


def _gpus(launch: Launch, host: Host) -> str:
    layout = launch.layout
    if layout.nodes > 1:
        return f"{layout.nodes} nodes: servegate starts servers on this machine only"
    needed = layout.tp * _pipeline_stages(launch)
    if len(host.gpus) < needed:
        return f"needs {needed} GPUs, this machine has {len(host.gpus)}"
    if any(gpu.get("mig") is True for gpu in host.gpus[:needed]):
        return "a GPU is split by MIG, and ranks cannot reach each other over NVLink"
    return ""


def _pipeline_stages(launch: Launch) -> int:
    """Each stage of pipeline parallelism has tp ranks of its own; no key of a layout says it."""
    asked = dict(asked_flags(launch.argv))
    [stages] = asked.get("pp_size") or asked.get("pipeline_parallel_size") or ["1"]
    return int(stages) if stages.isdigit() else 1


def _multicast(launch: Launch, arm: ArmPlan, host: Host) -> str:
    asked = _asks_for(launch, "--enable-symm-mem", "--enable-nccl-nvls")
    preset = arm.preset is not None and BACKENDS[arm.preset].needs_multicast
    # The one way in which a preset that needs multicast can do without: no FlashInfer in it.
    if MIXED_COMM_PLUGIN in arm.plugins:
        preset = False
    if not (asked or preset or _runs_flashinfer(launch)):
        return ""
    if host.forbidden:
        return f"needs NVLink multicast, which this host forbids ({', '.join(host.forbidden)})"
    if host.no_multicast:
        return f"needs NVLink multicast: {host.no_multicast}"
    return ""


def _mixed_comm(launch: Launch, host: Host, engine: EnginePackages) -> str:
    layout = launch.layout
    if layout.tp not in GROUP_SIZES:
        return f"MixedComm's kernels are for 2, 4 or 8 ranks, not {layout.tp}"
    known = [".".join(map(str, capability)) for capability in CAPABILITIES]
    wrong = {str(gpu["capability"]) for gpu in host.gpus[: layout.tp]} - set(known)
    if wrong:
        return f"MixedComm needs compute capability {' or '.join(known)}, not {', '.join(wrong)}"
    version = engine.versions.get("flashinfer-python")
    if version is None:
        return f"FlashInfer is not installed for the engine{_because(engine)}"
    if _numbers(version) < OLDEST_FLASHINFER:
        oldest = ".".join(map(str, OLDEST_FLASHINFER))
        return f"FlashInfer {version} has no MixedComm that servegate knows; install {oldest}"
    return ""


def _because(engine: EnginePackages) -> str:
    return f": {engine.problem}" if engine.problem else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
