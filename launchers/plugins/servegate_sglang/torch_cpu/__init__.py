"""The SGLang platform and plugin with which stock SGLang serves on a machine without a GPU.

SGLang finds the two functions through the entry points in pyproject.toml. Both do nothing unless
SGLANG_PLATFORM names this platform, so that having servegate installed changes no other launch.
"""

from __future__ import annotations

import os

from servegate_sglang.torch_cpu.settings import PLATFORM

__all__ = ["activate", "register"]


def activate() -> str | None:
    """The platform class's dotted name, or None when another platform was asked for."""
    return "servegate_sglang.torch_cpu.platform.TorchCpuPlatform" if _named() else None


def register() -> None:
    """Make the processes that wait for requests wait without spinning.

    SGLang calls this in each of its processes before the process does any work.

    Raises:
        SystemExit: a target in SGLang is not where it was (SGLang swallows an Exception here).
    """
    if not _named():
        return
    from servegate_sglang.torch_cpu import patches

    patches.apply_waiting()


def _named() -> bool:
    return os.environ.get("SGLANG_PLATFORM") == PLATFORM
