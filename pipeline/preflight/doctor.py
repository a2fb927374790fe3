"""What this machine can run, and why not the rest: findings of `servegate doctor`; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from launchers.backends import BACKENDS
from launchers.machine.host import EnginePackages, Host
from pipeline.plan.model import Plan
from pipeline.preflight.checks import Preflight
from servegate_sglang.mixed_comm.requirements import CAPABILITIES, FORBID_VARIABLE

__all__ = ["CellLine", "Diagnosis", "Finding", "diagnose"]

_KERNELS = "MixedComm kernels"
_GENERAL = "sglang.srt.plugins"
_NVCC = "MixedComm's kernels are compiled with it; install the CUDA toolkit, or build elsewhere"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Finding(_Frozen):
    """One thing looked at: ``missing`` keeps something from running, ``note`` does not."""

    name: str
    state: Literal["ok", "missing", "note"]
    found: str
    do: str = ""


class CellLine(_Frozen):
    """One arm on one layout; ``reason`` is empty where it can run."""

    layout: str
    arm: str
    launches: int
    reason: str


class Diagnosis(_Frozen):
    """All findings, and what they mean for an experiment's cells; without one, for the presets."""

    schema_version: Literal[1] = 1
    experiment: str | None
    findings: list[Finding]
    cells: list[CellLine]

    @property
    def can_run(self) -> bool:
        """Nothing that was asked for is missing, and something of the experiment can run.

        Without an experiment only a build can have been asked for; the machine is what it is.
        """
        blocked = any(finding.state == "missing" for finding in self.findings)
        if self.experiment is None:
            return not any(
                finding.state == "missing" and finding.name == _KERNELS for finding in self.findings
            )
        return not blocked and any(not cell.reason for cell in self.cells)


def diagnose(
    host: Host,
    engine: EnginePackages,
    *,
    not_built: str | None,
    plan: Plan | None = None,
    presets: Plan | None = None,
    preflight: Preflight | None = None,
    building: bool = False,
) -> Diagnosis:
    """Put the findings together.

    Args:
        host: The machine.
        engine: The engine's interpreter.
        not_built: Why MixedComm's kernels are not built, "" if they are; None: not asked.
        plan: An experiment's plan, its launches marked for this machine.
        presets: Without an experiment: the presets at some sizes, marked likewise.
        preflight: What was found of its model, data, ports and flags.
        building: Whether the kernels were to be built just now: then not built is a failure.
    """
    device = "cuda" if plan is None else plan.device
    shown = presets if plan is None else plan
    real = plan is None or plan.engine == "sglang"
    findings = [
        *_gpus(host, needed=plan is not None and real and device == "cuda"),
        *_fabric(host),
        *_engine(engine, needed=plan is not None and real),
        *_tools(engine, not_built, building=building),
        *_room(host),
    ]
    if preflight is not None:
        findings += _experiment(preflight)
    lacking = [one for one in findings if one.state == "missing"] if plan is not None else []
    return Diagnosis(
        experiment=None if plan is None else plan.experiment,
        findings=findings,
        cells=[] if shown is None else _cells(shown, _told(lacking)),
    )


def _gpus(host: Host, *, needed: bool) -> Iterable[Finding]:
    if not host.gpus:
        yield Finding(
            name="GPUs",
            state="missing" if needed else "note",
            found="none" if host.driver is None else f"none (driver {host.driver})",
            do="run on a machine with GPUs, or set engine.device: cpu" if needed else "",
        )
        return
    by_name: dict[str, int] = defaultdict(int)
    for gpu in host.gpus:
        by_name[f"{gpu['name']} (capability {gpu['capability']}, {gpu['memory_mib']} MiB)"] += 1
    names = ", ".join(f"{count} x {name}" for name, count in by_name.items())
    yield Finding(name="GPUs", state="ok", found=names)
    yield Finding(name="driver", state="ok", found=f"{host.driver}, CUDA {host.cuda}")
    used = [
        f"GPU {index}: {', '.join(state['processes'])}"
        for index, state in enumerate(host.state)
        if isinstance(state["processes"], list) and state["processes"]
    ]
    if used:
        yield Finding(
            name="GPU processes",
            state="note",
            found="; ".join(used),
            do="they share the cards' time and memory with what is measured; stop them first",
        )
    else:
        free = ", ".join(str(state["free_mib"]) for state in host.state)
        yield Finding(name="GPU processes", state="ok", found=f"none; MiB free: {free}")


def _fabric(host: Host) -> Iterable[Finding]:
    if not host.gpus:
        return
    if host.forbidden:
        yield Finding(
            name="NVLink multicast",
            state="note",
            found=f"forbidden on this host ({', '.join(host.forbidden)})",
            do="nccl-symmetric and mixed-comm are unsupported here",
        )
    elif host.no_multicast:
        yield Finding(
            name="NVLink multicast",
            state="note",
            found=host.no_multicast,
            do="nccl-symmetric and mixed-comm are unsupported here",
        )
    else:
        yield Finding(
            name="NVLink multicast",
            state="ok",
            found="the driver says that it is there",
            do=f"where it must not be used, set {FORBID_VARIABLE}=1",
        )


def _engine(engine: EnginePackages, *, needed: bool) -> Iterable[Finding]:
    if engine.problem or "sglang" not in engine.versions:
        yield Finding(
            name="SGLang",
            state="missing" if needed else "note",
            found=engine.problem or "not installed",
            do="install servegate[engine], or point engine.python to an interpreter that has it",
        )
        return
    versions = engine.versions
    yield Finding(name="SGLang", state="ok", found=versions["sglang"])
    for name, prefix in (("NCCL", "nvidia-nccl"), ("NVSHMEM", "nvidia-nvshmem")):
        packages = [f"{k} {v}" for k, v in versions.items() if k.startswith(prefix)]
        yield Finding(
            name=name,
            state="ok" if packages else "note",
            found=", ".join(packages) if packages else "no package; the system's own, if any",
        )
    flashinfer = versions.get("flashinfer-python")
    yield Finding(
        name="FlashInfer",
        state="ok" if flashinfer else "note",
        found=flashinfer or "not installed",
        do="" if flashinfer else "mixed-comm on GPUs needs it",
    )
    yield from _plugins(engine.plugins)


def _plugins(plugins: Sequence[dict[str, str]]) -> Iterable[Finding]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for plugin in plugins:
        if plugin["group"] == _GENERAL:
            by_name[plugin["name"]].append(plugin["distribution"])
    wanted = {name for backend in BACKENDS.values() for name in backend.plugins}
    lost = sorted(wanted - by_name.keys())
    twice = {name: who for name, who in by_name.items() if len(who) > 1}
    there = ", ".join(sorted(by_name)) or "no plugin at all"
    if lost:
        yield Finding(
            name="SGLang plugins",
            state="missing",
            found=f"no {', '.join(lost)}; there is {there}",
            do="install the plugins into the engine's environment: pip install servegate-sglang",
        )
    elif twice:
        told = "; ".join(f"{name} by {' and '.join(who)}" for name, who in twice.items())
        yield Finding(
            name="SGLang plugins",
            state="missing",
            found=f"named twice: {told}",
            do="SGLang loads only one of them; uninstall the other distribution",
        )
    else:
        yield Finding(name="SGLang plugins", state="ok", found=", ".join(sorted(by_name)))


def _tools(engine: EnginePackages, not_built: str | None, *, building: bool) -> Iterable[Finding]:
    yield Finding(
        name="nvcc",
        state="ok" if engine.nvcc else "note",
        found=engine.nvcc or "not on PATH",
        do="" if engine.nvcc else _NVCC,
    )
    if not_built is not None:
        capabilities = " or ".join(".".join(map(str, c)) for c in CAPABILITIES)
        yield Finding(
            name=_KERNELS,
            state=("missing" if building else "note") if not_built else "ok",
            found=not_built or "built",
            do=f"servegate doctor --build, on a GPU of capability {capabilities} or with --arch"
            if not_built
            else "",
        )
    yield Finding(
        name="nsys",
        state="ok" if engine.nsys else "note",
        found=engine.nsys or "not on PATH",
        do="" if engine.nsys else "capture: nsys cannot be used; capture: torch needs none",
    )


def _room(host: Host) -> Iterable[Finding]:
    yield Finding(
        name="memory and disk",
        state="ok",
        found=f"{host.memory_gib:g} GiB and {host.disk_gib:g} GiB free",
    )


def _experiment(found: Preflight) -> Iterable[Finding]:
    for text in [*found.wrong, *found.missing]:
        yield Finding(name="experiment", state="missing", found=text)
    for text in found.notes:
        yield Finding(name="experiment", state="note", found=text)
    if not found.wrong and not found.missing:
        yield Finding(
            name="experiment", state="ok", found="model, data, ports and flags are as needed"
        )


def _told(lacking: Sequence[Finding]) -> str:
    """What keeps every cell of an experiment from running, as one reason; "" if nothing does."""
    if not lacking:
        return ""
    more = f" (and {len(lacking) - 1} more missing)" if len(lacking) > 1 else ""
    return f"{lacking[0].name}: {lacking[0].found}{more}"


def _cells(plan: Plan, lacking: str) -> list[CellLine]:
    counts: dict[tuple[str, str], list[Any]] = {}
    for launch in plan.launches:
        line = counts.setdefault((str(launch.layout), launch.arm), [0, launch.unsupported])
        line[0] += 1
    return [
        CellLine(layout=layout, arm=arm, launches=count, reason=reason or lacking)
        for (layout, arm), (count, reason) in counts.items()
    ]
