"""What this machine is and has, as far as it decides which arms can run on it. Only looks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from launchers.machine.gpus import describe_gpus, gpu_state
from launchers.server.process import run_to_end
from servegate_sglang.mixed_comm.requirements import multicast_forbidden, no_multicast

__all__ = [
    "PACKAGES",
    "EnginePackages",
    "Host",
    "build_mixed_comm",
    "look",
    "mixed_comm_not_built",
    "probe",
]

_PROBE = Path(__file__).with_name("engine_probe.py")
_PROBE_S = 60.0
_CHECK_S = 180.0
_BUILDER = ("-P", "-m", "servegate_sglang.mixed_comm.build")
_NO_PLUGINS = {"SGLANG_PLUGINS": "none"}

PACKAGES = (
    "sglang",
    "flashinfer-python",
    "sglang-kernel",
    "torch",
    "triton",
    "transformers",
    "nvidia-nccl-cu13",
    "nvidia-nccl-cu12",
    "nvidia-nvshmem-cu13",
    "nvidia-nvshmem-cu12",
    "numpy",
    "openai",
    "sgl-eval",
    "math-verify",
    "servegate",
    "servegate-sglang",
)
"""Distributions whose versions can change an answer or a speed."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine.

    Attributes:
        gpus: As :func:`launchers.machine.gpus.describe_gpus` has them.
        driver: The NVIDIA driver's version; None: there is none.
        cuda: The CUDA version that the driver takes.
        state: What moves, as :func:`launchers.machine.gpus.gpu_state` has it.
        no_multicast: Why GPU 0 has no NVLink multicast; "" if the driver says that it has.
        forbidden: How this host forbids multicast, as NAME=VALUE; empty: it does not.
        memory_gib: Free memory.
        disk_gib: Free space where run folders go.
    """

    gpus: list[dict[str, Any]] = field(default_factory=list)
    driver: str | None = None
    cuda: str | None = None
    state: list[dict[str, Any]] = field(default_factory=list)
    no_multicast: str = "not asked"
    forbidden: list[str] = field(default_factory=list)
    memory_gib: float = 0.0
    disk_gib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EnginePackages:
    """What is installed in the engine's interpreter.

    Attributes:
        problem: Why it could not be asked; "" if it could.
        versions: By distribution.
        plugins: SGLang plugins and platforms: group, name, value, distribution.
        nvcc: Version and path; None: not there.
        nsys: Likewise.
    """

    problem: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    plugins: list[dict[str, str]] = field(default_factory=list)
    nvcc: str | None = None
    nsys: str | None = None


def look(runs: Path, environment: Mapping[str, str]) -> Host:
    """Look at this machine.

    Args:
        runs: Where run folders go; it need not exist.
        environment: Whose variables may forbid multicast.
    """
    described = describe_gpus()
    forbidden = multicast_forbidden(environment)
    # Before SGLang starts, this one is the user's word and not SGLang's own.
    if environment.get("NCCL_NVLS_ENABLE") == "0":
        forbidden.append("NCCL_NVLS_ENABLE=0")
    return Host(
        gpus=described["gpus"],
        driver=described["driver"],
        cuda=described["cuda"],
        state=gpu_state(),
        no_multicast=no_multicast(),
        forbidden=forbidden,
        memory_gib=round(psutil.virtual_memory().available / 2**30, 1),
        disk_gib=round(shutil.disk_usage(_existing(runs)).free / 2**30, 1),
    )


def probe(python: str, environment: Mapping[str, str] = MappingProxyType({})) -> EnginePackages:
    """Ask the engine's interpreter what it has, with further variables; about a second."""
    try:
        done = subprocess.run(
            # -P: this package's folder must not be searched for modules.
            [python, "-P", str(_PROBE), *PACKAGES],
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
            env={**os.environ, **environment},
        )
        found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return EnginePackages(problem=f"{python} could not be asked: {error}")
    if found is None:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return EnginePackages(problem=f"{python} could not be asked: {last}")
    return EnginePackages(
        versions=found["versions"],
        plugins=found["plugins"],
        nvcc=found["nvcc"],
        nsys=found["nsys"],
    )


def mixed_comm_not_built(python: str) -> str:
    """Why MixedComm's kernels cannot be loaded at once, "" if they can; takes seconds."""
    try:
        done = subprocess.run(
            [python, *_BUILDER, "--check"],
            capture_output=True,
            text=True,
            timeout=_CHECK_S,
            check=False,
            env={**os.environ, **_NO_PLUGINS},
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return "" if found["built"] else str(found["reason"])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, KeyError) as error:
        return f"it could not be asked: {error}"


def build_mixed_comm(python: str, log: Path, timeout_s: float, arch: str | None = None) -> str:
    """Build them; returns why that failed, or "". Output goes to `log`, which must not exist.

    Args:
        python: The engine's interpreter.
        log: Where the compiler's words go.
        timeout_s: When to give up.
        arch: Compute capabilities to build for, such as "9.0 10.0"; None: those of this machine.
    """
    try:
        done = run_to_end(
            [python, *_BUILDER, *(["--arch", arch] if arch is not None else [])],
            env={**os.environ, **_NO_PLUGINS},
            log=log,
            deadline_s=timeout_s,
            on_tick=lambda: None,
        )
    except OSError as error:
        return str(error)
    if done.timed_out:
        return f"not done after {timeout_s:g} s; see {log}"
    try:
        found = json.loads(log.read_text(encoding="utf-8", errors="replace").splitlines()[-1])
        return "" if found["built"] else f"{found['reason']}; see {log}"
    except (ValueError, IndexError, KeyError, TypeError):
        return f"the build ended with exit code {done.returncode}; see {log}"


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
