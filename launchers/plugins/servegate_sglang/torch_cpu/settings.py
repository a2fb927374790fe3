"""What a launch on a machine without a GPU needs: its environment and its server arguments."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PLATFORM = "servegate_torch_cpu"
"""The entry points' name, which SGLANG_PLATFORM must hold for any of this package to act.

SGLang compares it with the name, not the value, of entry points in the group
`sglang.srt.platforms` (sglang/srt/platforms/__init__.py:121, 0.5.23).
"""

CPU_ARGS: Mapping[str, str | int | float | bool] = MappingProxyType(
    {
        "device": "cpu",
        "attention-backend": "torch_native",
        "sampling-backend": "pytorch",
        # The share of memory for weights and cache; the next line is what sizes the cache.
        "mem-fraction-static": 0.4,
        # Without this SGLang would fill the machine's memory once a rank. Tokens of each
        # attention-DP group; each takes 15 to 30 KB a rank with smollm2-moe.
        "max-total-tokens": 20000,
        # A cached prefix is attended to by recomputing its queries: slower than without.
        "disable-radix-cache": True,
        # The warm-up request costs seconds; a job sends its own first.
        "skip-server-warmup": True,
        # Idle ranks would keep every core from the client.
        "sleep-on-idle": True,
    }
)
"""Server arguments, flag name without dashes -> value; True is a flag without a value."""


def cpu_env(tp: int, cores: int) -> dict[str, str]:
    """The environment of a launch of `tp` ranks on a machine with `cores` cores.

    Args:
        tp: ranks, at least 1; attention DP adds none.
        cores: cores the launch may use, at least 1.

    Raises:
        ValueError: `tp` or `cores` is less than 1.
    """
    if tp < 1 or cores < 1:
        raise ValueError(f"cpu_env: tp {tp} and cores {cores} must be at least 1")
    threads = max(1, cores // tp)
    return {
        "SGLANG_PLATFORM": PLATFORM,
        # More threads than cores wait for each other, spinning, at the end of every operation.
        "OMP_NUM_THREADS": str(threads),
        # SGLang refuses to start several ranks on one NUMA node without an entry for each
        # (utils/numa_utils.py:459). Its native binding is not in the PyPI build, so nothing is
        # pinned, which is as well: a pinned rank waits for its core while another core is free.
        "SGLANG_CPU_OMP_THREADS_BIND": "|".join(_cores_of(rank, tp, cores) for rank in range(tp)),
        # Off CUDA the cosines and sines of positions would be rounded to the model's dtype.
        "SGLANG_ROPE_CACHE_FP32": "1",
        # SGLang would import every model it has, nearly two seconds in each process.
        "SGLANG_EXTERNAL_MODEL_PACKAGE": "servegate_sglang.torch_cpu.served",
        "HF_HUB_OFFLINE": "1",
    }


def _cores_of(rank: int, tp: int, cores: int) -> str:
    """The rank's cores as `first-last` or `only`; ranks share cores where there are too few."""
    first = rank * cores // tp
    last = max(first, (rank + 1) * cores // tp - 1)
    return str(first) if first == last else f"{first}-{last}"
