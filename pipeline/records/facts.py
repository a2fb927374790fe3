"""What a launch ran with: kept for each launch, so that arms can be held against each other.

Two arms may be compared only if they differ in nothing but what the experiment declares. What was
asked for is in the plan; this is what was there: arguments as SGLang resolved them, environment,
packages, libraries, machine and cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["Facts", "resolved_arguments", "telling"]

# History of facts.json's format:
# 1: first form.

# Variables that can change what a server does or how fast; the rest of a shell is left out.
_TELLING = (
    "SGLANG_",
    "SGL_",
    "FLASHINFER_",
    "NCCL_",
    "TORCH_",
    "PYTORCH_",
    "CUDA_",
    "NVSHMEM_",
    "OMP_",
    "MKL_",
    "TRITON_",
    "NVIDIA_",
    "UCX_",
    "GLOO_",
    "HF_HUB",
    "LD_",
    "PYTHON",
    "TOKENIZERS_",
    "SERVEGATE_MIXED_COMM",
    "SERVEGATE_PREFER",
    "SERVEGATE_FIX",
)
_HIDDEN = "(hidden)"
_SECRET_ARGUMENTS = ("api_key", "password", "token", "secret")
_SECRET = ("TOKEN_", "_TOKEN", "_KEY", "SECRET", "PASSWORD")

# Differ from launch to launch by themselves.
_OWN_OF_A_LAUNCH = frozenset({"SGLANG_RUN_ID"})

# Of /server_info: what a launch draws anew, and what says how it is, not how it was set up.
_VOLATILE = frozenset(
    {
        "crash_dump_folder",
        "dist_init_addr",
        "internal_states",
        "launch_command",
        "load_publish_endpoint",
        "nccl_port",
        "port",
        "random_seed",
        "scheduler_pids",
        "startup_time",
        "status",
        "fake",
    }
)
_VOLATILE_ENDS = ("_port", "_ports", "_ipc_name", "_socket", "_endpoint")


class Facts(BaseModel):
    """What was found when a launch was ready.

    Attributes:
        arguments: Resolved arguments of /server_info, without what each launch draws for itself.
        environment: Telling variables of the launched process.
        rank_environment: Those that all its schedulers share; a name whose value differs between
            them has the values joined.
        packages: Versions in the engine's interpreter.
        libraries: Communication libraries that the first scheduler has mapped.
        machine: Host, processor, cores, kernel.
        gpu: Driver and cards with their settings (:func:`launchers.machine.gpus.describe_gpus`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    arguments: dict[str, Any]
    environment: dict[str, str]
    rank_environment: dict[str, str]
    packages: dict[str, str]
    libraries: dict[str, str]
    machine: dict[str, Any]
    gpu: dict[str, Any]


def resolved_arguments(info: Mapping[str, Any], *, planned: frozenset[str]) -> dict[str, Any]:
    """The arguments of /server_info that two equal launches share.

    Args:
        info: The answer.
        planned: Flags on the command line, with underscores: a seed that was asked for is kept.
    """
    return {
        key: _HIDDEN if value is not None and key.endswith(_SECRET_ARGUMENTS) else value
        for key, value in sorted(info.items())
        if (key == "random_seed" and key in planned)
        or not (key in _VOLATILE or key.endswith(_VOLATILE_ENDS) or key.startswith("_"))
    }


def telling(*environs: Mapping[str, str]) -> dict[str, str]:
    """The telling variables of one or several processes; values that differ are joined."""
    names = sorted({name for environ in environs for name in environ if _tells(name)})
    found = {}
    for name in names:
        values = dict.fromkeys(environ.get(name, "(unset)") for environ in environs)
        found[name] = _HIDDEN if any(word in name for word in _SECRET) else " | ".join(values)
    return found


def _tells(name: str) -> bool:
    return name.startswith(_TELLING) and name not in _OWN_OF_A_LAUNCH
