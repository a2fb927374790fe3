"""The four communication backends as presets: server flags, environment and SGLang plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BACKENDS", "MIXED_COMM_PLUGIN", "MIXED_COMM_SWITCH", "ArgValue", "Backend"]

# A server flag's value by its name without dashes: true is a bare flag, false and null leave it
# out, a list is a flag with several values, a mapping is written as JSON.
ArgValue = bool | int | float | str | list[int] | list[float] | list[str] | dict[str, object] | None

MIXED_COMM_PLUGIN = "servegate_mixed_comm"
MIXED_COMM_SWITCH = "SGLANG_USE_MIXED_COMM"

# SGLang 0.5.23 decodes with one CustomAllReduceV2 all-reduce where the study ran NCCL's gather and
# reduce-scatter; this switch falls back to the class that the study's path needs
# (sglang 0.5.23: srt/environ.py SGLANG_OPT_USE_CUSTOM_ALL_REDUCE_V2, srt/layers/dp_attention.py
# _decode_sum_len_fits_custom_all_reduce). 0.5.16 has no such shortcut; there the variable chooses
# the all-reduce's class alone (srt/distributed/device_communicators/custom_all_reduce.py).
_NCCL_ENV = {"SGLANG_OPT_USE_CUSTOM_ALL_REDUCE_V2": "0"}


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A named arm preset.

    Attributes:
        summary: What it is, for reports and --help.
        args: Server flags over those that all arms share.
        env: Environment variables over those that all arms share.
        plugins: SGLang plugins (entry point names) over those that all arms share.
        follows: What else differs from an arm without it, as patterns of facts
            (:class:`pipeline.records.facts.Facts`, such as ``rank_environment.NCCL_*``): SGLang or
            the plugin changes it by itself when the preset is asked for.
        needs_multicast: True where NVLink multicast must be usable; such an arm must not be started
            on hosts that forbid it.
    """

    summary: str
    args: Mapping[str, ArgValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    needs_multicast: bool = False


BACKENDS: dict[str, Backend] = {
    "default": Backend(
        summary="what SGLang does when nothing is asked (0.5.23: custom all-reduce v2 in decode)",
    ),
    "nccl": Backend(
        summary="two NCCL collectives before and after the experts, as SGLang did until May 2026",
        env=_NCCL_ENV,
    ),
    "nccl-symmetric": Backend(
        summary="NCCL on symmetric memory with NVLS",
        args={"enable-symm-mem": True, "enable-nccl-nvls": True},
        env=_NCCL_ENV,
        # sglang 0.5.23: srt/entrypoints/engine.py _set_envs_and_config, and
        # srt/arg_groups/memory_hook.py, which sets a share of memory aside for it.
        follows=(
            "rank_environment.NCCL_CUMEM_ENABLE",
            "rank_environment.NCCL_NVLS_ENABLE",
            "rank_environment.NCCL_GRAPH_MIXING_SUPPORT",
            "rank_environment.SGLANG_SYMM_MEM_PREALLOC_GB_SIZE",
        ),
        needs_multicast=True,
    ),
    "mixed-comm": Backend(
        summary="FlashInfer MixedComm through servegate's SGLang plugin: one fused kernel each",
        env={**_NCCL_ENV, MIXED_COMM_SWITCH: "1"},
        plugins=(MIXED_COMM_PLUGIN,),
        # FlashInfer's MixedComm links NVSHMEM, on one node too.
        follows=("libraries.libnvshmem*",),
        needs_multicast=True,
    ),
}
