"""In the profiler's stead: traces of decode steps with the kernels that each arm would run."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launchers.fake_engine.settings import FakeSettings, WrongKernels

__all__ = ["FAKE_LAYERS", "write_traces"]

FAKE_LAYERS = 4
_STEP_US, _KERNEL_US = 1000.0, 5.0
_REPLAY = 5  # correlation of the first cudaGraphLaunch

# One name of each family, as a profiler prints it (sources: evals/comm_kernels/families.py).
_MIXED = (
    "void flashinfer::mixed_comm::{}_kernel<1u, 4u, 2u, false, false, "
    "(flashinfer::mixed_comm::MixedCommMode)0, __nv_bfloat16>(Params)"
)
_NAMES = {
    "mixed": (
        _MIXED.format("fused_allreduce_allgather"),
        _MIXED.format("fused_reducescatter_allreduce"),
    ),
    "nccl-symmetric": ("ncclSymkDevKernel_AllGather_LLMC(ncclSymkDevWorkArgs4K)",),
    "nccl": (
        "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
    ),
    "sglang-ar-v2": ("void all_reduce_1shot_push_kernel<__nv_bfloat16, 8u, true>(Params)",),
}


def write_traces(
    args: Mapping[str, Any],
    environ: Mapping[str, str],
    settings: FakeSettings,
    folder: Path,
    steps: int,
) -> None:
    """One gzipped trace a rank, named as SGLang names them, with `steps` replays."""
    folder.mkdir(parents=True, exist_ok=True)
    family, each = _family(args, environ, settings)
    stamp = f"{time.time():.6f}"
    for rank in range(args["tp_size"]):
        document = {
            "schemaVersion": 1,
            "distributedInfo": {"rank": rank, "world_size": args["tp_size"]},
            "traceEvents": list(_events(_NAMES.get(family, (family,)), each, steps)),
        }
        path = folder / f"{stamp}-TP-{rank}.trace.json.gz"
        with gzip.open(path, "wt", encoding="utf-8") as file:
            json.dump(document, file)


def _family(
    args: Mapping[str, Any], environ: Mapping[str, str], settings: FakeSettings
) -> tuple[str, int]:
    """The family that this arm runs, and its kernels a layer."""
    for fault in settings.faults:
        if isinstance(fault, WrongKernels):
            return fault.family, fault.per_layer
    dp = args["attn_dp_size"]
    fuses = 1 < dp < args["tp_size"]
    plugins = environ.get("SGLANG_PLUGINS", "").split(",")
    if environ.get("SGLANG_USE_MIXED_COMM") == "1" and "servegate_mixed_comm" in plugins:
        return "mixed", 2
    if args.get("enable_symm_mem"):
        return "nccl-symmetric", 4 if fuses else 2
    if environ.get("SGLANG_OPT_USE_CUSTOM_ALL_REDUCE_V2") == "0":
        return "nccl", 4 if fuses else 2
    return "sglang-ar-v2", 2


def _events(names: tuple[str, ...], each: int, steps: int) -> Iterator[dict[str, Any]]:
    for step in range(steps):
        correlation = _REPLAY + step
        begin = step * _STEP_US
        yield {
            "ph": "X",
            "cat": "cuda_runtime",
            "name": "cudaGraphLaunch",
            "pid": 1,
            "tid": 1,
            "ts": begin,
            "dur": 3.0,
            "args": {"correlation": correlation},
        }
        kernels = ["void gemm(Params)"]
        for layer in range(FAKE_LAYERS):
            kernels += [names[(layer * each + n) % len(names)] for n in range(each)]
            kernels.append("void fused_moe_kernel(Params)")
        for order, name in enumerate(kernels):
            yield {
                "ph": "X",
                "cat": "kernel",
                "name": name,
                "pid": 0,
                "tid": 7,
                "ts": begin + _KERNEL_US * (order + 1),
                "dur": _KERNEL_US - 1,
                "args": {"stream": 7, "device": 0, "correlation": correlation},
            }
