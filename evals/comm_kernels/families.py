"""The one table of communication kernels: family, names, and where each name comes from.

Names are matched as a profiler prints them, demangled. The order counts: the first that matches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["FAMILIES", "Family", "family_of", "mode_of", "suspicious"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Kernels of one origin.

    Attributes:
        name: What reports call it.
        pattern: Regular expression, searched in the demangled name.
        source: File and version in which the names were read.
    """

    name: str
    pattern: re.Pattern[str]
    source: str


def _family(name: str, pattern: str, source: str) -> Family:
    return Family(name=name, pattern=re.compile(pattern), source=source)


_C10D = "torch 2.14, torch/csrc/distributed/c10d/Ops.cpp"

FAMILIES = (
    _family(
        "mixed",
        r"flashinfer::mixed_comm::(?:allreduce|allgather|reducescatter|fused_allreduce_allgather"
        r"|fused_reducescatter_allreduce)_kernel\b",
        "flashinfer 0.7.2, include/flashinfer/comm/mixed_comm.cuh",
    ),
    _family(
        "nccl-symmetric",
        r"\bnccl(?:Symk|Sym)(?:Dev)?Kernel_",
        "strings of libnccl.so.2 of nvidia-nccl-cu13 2.30.7; ncclSymDevKernel_ in 2.27",
    ),
    _family(
        "nccl",
        r"\bnccl(?:Dev)?Kernel_",
        "NCCL, src/device/generate.py; the algorithm in the name is the one that was specialised",
    ),
    _family(
        "sglang-ar-v2",
        r"\b(?:all_reduce_[12]shot_(?:push|pull)_kernel|nvlink_(?:push|pull)_kernel"
        r"|moe_finalize_all_reduce_kernel)\b",
        "sglang 0.5.23, kernels/jit/csrc/distributed/{custom_all_reduce,nvlink_comm}.cuh",
    ),
    _family(
        "sglang-ar-legacy",
        r"\b(?:sglang|vllm)::cross_device_reduce_[12]stage\b",
        "sgl-kernel csrc/allreduce/custom_all_reduce.cuh; vLLM's has the same names",
    ),
    _family(
        "torch-symm-mem",
        r"\b(?:multimem_(?:all_reduce|one_shot_reduce|all_gather)_kernel"
        r"|(?:one|two)_shot_all_reduce_kernel(?:_inplace)?)\b",
        "PyTorch, torch/csrc/distributed/c10d/symm_mem/CUDASymmetricMemoryOps.cu",
    ),
    _family(
        "trtllm-fusion",
        r"\b(?:allreduce_fusion_kernel_(?:oneshot_lamport|twoshot_sync)"
        r"|moe(?:reduce|finalize)_allreduce_fusion_kernel_oneshot_lamport"
        r"|oneshotAllreduceFusionKernel|twoshotAllreduceKernel|(?:one|two)ShotAllReduceKernel"
        r"|rmsNormLamport|lamport_style_one_shot_all_reduce_norm_kernel)\b",
        "flashinfer 0.7.2, data/{csrc,include}; from TensorRT-LLM",
    ),
    _family(
        "flashinfer-a2a",
        r"\b(?:moeA2A(?:Prepare)?(?:Dispatch|Combine)Kernel|kernel_flashinfer_mnnvl_moe_alltoall_\w+)",
        "flashinfer 0.7.2, data/csrc/nv_internal/tensorrt_llm/kernels/communicationKernels",
    ),
    _family(
        "flashinfer-pcie",
        r"\b(?:ipc_(?:rsag|topo_rsag8|tp2_remote)\w*_kernel|push_oneshot_param_kernel)\b",
        "flashinfer 0.7.2, include/flashinfer/comm/pcie_ipc_all_reduce.cuh",
    ),
    _family(
        "sglang-gather",
        r"\b(?:sp_collective::\w+_kernel|_all_gather_kernel_inner"
        r"|muse_spark_all_gather_norm_residual_\w+)\b",
        "sglang 0.5.23, kernels/jit/csrc/{kimi_k3/comm/sp_collective,muse_spark/*}.cuh and "
        "srt/distributed/device_communicators/triton_symm_mem_ag.py",
    ),
    _family("deepep", r"\bdeep_ep::", "DeepEP, csrc/kernels"),
    _family("nvshmem", r"\bnvshmem", "NVSHMEM's device library"),
    _family("mscclpp", r"\bmscclpp::", "MSCCL++"),
    # Of traces taken on a CPU: operations, not kernels.
    _family(
        "c10d-all-gather", r"^c10d::_?allgather", "torch 2.14, torch/csrc/distributed/c10d/Ops.cpp"
    ),
    _family("c10d-reduce-scatter", r"^c10d::_?reduce_scatter", "as above"),
    _family("c10d-all-reduce", r"^c10d::allreduce", "as above"),
    _family("c10d-broadcast", r"^c10d::broadcast", "as above"),
)

# <block_y, local_tp, local_dp, use_inter_tp, use_inter_dp, MODE, T> (mixed_comm.cuh): a demangler
# prints an enumerator as its type and number.
_MODE = re.compile(r"MixedCommMode\)(\w+)|\b(OPT_(?:WAITS|BYTES\d)_(?:MC|UC))\b")

_SUSPICIOUS = re.compile(
    r"reduce_?scatter|all_?gather|all_?reduce|nvls|multimem|p2p|a2a|all_?to_?all|nccl|lamport"
    r"|one_?shot|two_?shot",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)  # a trace has some hundred names, each asked for by every rank
def family_of(name: str) -> str | None:
    """The family of a kernel; None: no communication that is known."""
    return next((family.name for family in FAMILIES if family.pattern.search(name)), None)


def mode_of(name: str) -> str | None:
    """The mode that a MixedComm kernel was instantiated for, as its name has it."""
    match = _MODE.search(name)
    return None if match is None else next(group for group in match.groups() if group)


def suspicious(name: str) -> bool:
    """True for a kernel of no family whose name looks like communication."""
    return family_of(name) is None and _SUSPICIOUS.search(name) is not None
