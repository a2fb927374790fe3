"""What a reader needs to know of where a run's numbers come from, noted before it starts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from launchers.machine.engine_probe import versions
from launchers.machine.gpus import describe_gpus
from launchers.machine.host import PACKAGES, probe
from pipeline.plan.model import Plan
from pipeline.records.facts import telling

__all__ = ["describe_machine", "engine_packages", "gather"]


def engine_packages(python: str) -> dict[str, str]:
    """Versions of the packages that matter in the engine's interpreter; {} if it cannot tell."""
    if Path(python) == Path(sys.executable):
        return versions(PACKAGES)
    return dict(probe(python).versions)


def gather(plan: Plan, command: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Everything worth noting as JSON: run, machine, GPUs, packages, variables, revision."""
    return {
        "schema_version": 1,
        "run": {
            "experiment": plan.experiment,
            "plan_hash": plan.hash,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "engine": plan.engine,
            "device": plan.device,
        },
        "machine": {
            **describe_machine(),
            "python": platform.python_version(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
        },
        "gpu": describe_gpus(),
        "packages": engine_packages(plan.python),
        "model": {"path": plan.model.path, **_model_digest(Path(plan.model.path))},
        "inherited_environment": telling(environ),
        "source": _revision(Path(__file__).resolve().parent),
    }


def describe_machine() -> dict[str, Any]:
    """Host, processor, cores that this process may use, memory and system; nothing that moves."""
    return {
        "host": platform.node(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "os": platform.platform(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _model_digest(folder: Path) -> dict[str, Any]:
    """Names and sizes of a local model's files: enough to see that it is another one."""
    if not folder.is_dir():
        return {"local": False}
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    return {"local": True, "files": files}


def _revision(folder: Path) -> dict[str, Any]:
    """The git commit of servegate's own source, and whether files differ from it."""

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *args],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "modified": None}
    return {"commit": commit, "modified": bool(git("status", "--porcelain"))}
