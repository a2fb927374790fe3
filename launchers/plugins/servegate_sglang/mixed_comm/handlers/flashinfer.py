"""The fused operations by FlashInfer's MixedComm kernels.

Written against flashinfer 0.7.2 (flashinfer/comm/mixed_comm.py) and never run: this project's
machine has no GPU. What is tested, with a stand-in for that module, is which arguments it gets
and that missing requirements stop every rank.
"""

import importlib
import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from servegate_sglang.mixed_comm import build, requirements
from servegate_sglang.mixed_comm.handlers.base import Group
from servegate_sglang.mixed_comm.nodes import place
from servegate_sglang.mixed_comm.policy import Operation

MODULE = "flashinfer.comm.mixed_comm"
ACCESS_BYTES = 16


class FlashInferUnavailableError(RuntimeError):
    """MixedComm cannot run on at least one rank; the message has every rank's reasons."""


class FlashInferHandler:
    """One MixedCommHandler for all ranks of the TP group, on one node or several.

    Its shutdown is collective and would hang once a peer has died, so it is left to the end of
    the process. One stream, and the same sequence of operations on all ranks.
    """

    name = "flashinfer"
    kernels = "flashinfer::mixed_comm"

    def __init__(self, module: Any, native: Any) -> None:
        """Take flashinfer's module and its constructed MixedCommHandler."""
        self._module = module
        self._native = native
        self._operations = {
            operation: module.MixedCommOp[operation.value] for operation in Operation
        }

    @classmethod
    def build(cls, group: Group, *, may_compile: bool = False) -> "FlashInferHandler":
        """Agree that every rank can, then construct; collective.

        Raises:
            FlashInferUnavailableError: on every rank alike, when one of them cannot.
        """
        reasons: list[list[str]] = [[] for _ in range(group.layout.tp_size)]
        mine = unmet_requirements(group, may_compile=may_compile)
        dist.all_gather_object(reasons, mine, group=group.cpu_group)
        if any(reasons):
            by_rank = "; ".join(
                f"rank {rank}: {', '.join(unmet)}" for rank, unmet in enumerate(reasons) if unmet
            )
            raise FlashInferUnavailableError(
                f"mixed-comm: FlashInfer MixedComm cannot run here: {by_rank}. "
                "SERVEGATE_MIXED_COMM_HANDLER=reference checks the path without it"
            )
        module = importlib.import_module(MODULE)
        layout = group.layout
        ranks = place(
            layout.rank,
            attention_tp=layout.attention_tp,
            attention_dp=layout.attention_dp,
            nodes=layout.nodes,
        )
        if layout.nodes > 1:
            _start_nvshmem(module, group)
        native = module.MixedCommHandler(
            world_rank=layout.rank,
            world_size=layout.world_size,
            local_rank=ranks.local_rank,
            local_size=ranks.local_size,
            inter_rank=ranks.inter_rank,
            inter_size=ranks.inter_size,
            local_tp_size=ranks.local_tp,
            local_dp_size=ranks.local_dp,
            inter_tp_size=ranks.inter_tp,
            inter_dp_size=ranks.inter_dp,
            dtype=group.dtype,
            device=group.device,
            # On several nodes it is started above.
            should_init_nvshmem=layout.nodes == 1,
        )
        return cls(module, native)

    def run(self, operation: Operation, x: torch.Tensor, out: torch.Tensor) -> None:
        """Launch the kernel that autotuning chose for this size.

        Raises:
            RuntimeError: a pointer is not 16-byte aligned, which flashinfer does not check. This
                cannot be passed through: it may differ between ranks.
        """
        for what, tensor in (("input", x), ("output", out)):
            if tensor.data_ptr() % ACCESS_BYTES:
                raise RuntimeError(f"mixed-comm: {operation} {what} is not 16-byte aligned")
        self._module.run_mixed_comm(self._operations[operation], self._native, x, out)

    def details(self) -> dict[str, Any]:
        """The modes that autotuning chose, by operation and bytes: they differ between launches.

        flashinfer 0.7.2 tunes for autotune_base_bytes times each power of two. A mode NCCL_* means
        that NCCL's kernels run in this arm for that size.
        """
        base = self._native.autotune_base_bytes
        return {
            "autotune_map": {
                operation.name: {str(base << index): mode.name for index, mode in enumerate(modes)}
                for operation, modes in self._native.autotune_map.items()
            }
        }


def unmet_requirements(
    group: Group, environment: Mapping[str, str] = os.environ, *, may_compile: bool = False
) -> list[str]:
    """What this rank lacks for MixedComm; empty: nothing. Creates nothing on the device."""
    unmet: list[str] = []
    local = group.layout.world_size // group.layout.nodes
    if local not in requirements.GROUP_SIZES:
        unmet.append(f"{local} ranks a node (2, 4 or 8 are supported)")
    forbidding = requirements.multicast_forbidden(environment)
    unmet += [f"{variable} forbids multicast" for variable in forbidding]
    if group.device.type != "cuda":
        unmet.append(f"device {group.device.type} (cuda is needed)")
        return unmet
    capability = torch.cuda.get_device_capability(group.device)
    if capability not in requirements.CAPABILITIES:
        unmet.append(f"compute capability {capability} (9.0 or 10.0 is needed)")
    lacking = requirements.no_multicast(group.device.index)
    if lacking:
        unmet.append(f"no NVLink multicast: {lacking}")
    return unmet + _import_problems() + _build_problems(may_compile=may_compile)


def _import_problems() -> list[str]:
    try:
        module = importlib.import_module(MODULE)
    except (ImportError, OSError, RuntimeError) as error:
        return [f"{MODULE} does not import: {error}"]
    names = ("MixedCommHandler", "MixedCommOp", "run_mixed_comm")
    return [f"{MODULE} has no {name}" for name in names if not hasattr(module, name)]


def _build_problems(*, may_compile: bool) -> list[str]:
    missing = "" if may_compile else build.not_built()
    if not missing:
        return []
    return [f"its kernels are {missing}; run `python -m servegate_sglang.mixed_comm.build` first"]


def _start_nvshmem(module: Any, group: Group) -> None:
    """NVSHMEM for all ranks, which the handler needs across nodes; collective.

    The handler would do this itself with a broadcast over torch's default group, which in SGLang
    may carry CUDA tensors only; otherwise as in flashinfer 0.7.2, MixedCommHandler.init_nvshmem.

    Raises:
        FlashInferUnavailableError: NVSHMEM did not start on this rank.
    """
    kernels = module.get_mixed_comm_module()
    unique = torch.zeros(kernels.nvshmem_unique_id_size(), dtype=torch.uint8, device="cpu")
    if group.layout.rank == 0:
        kernels.nvshmem_get_unique_id(unique)
    dist.broadcast(unique, src=0, group=group.cpu_group)
    status = kernels.nvshmem_init(unique, group.layout.rank, group.layout.world_size)
    if status != 0:
        raise FlashInferUnavailableError(
            f"mixed-comm: nvshmem_init gave {status} on rank {group.layout.rank}; see NVSHMEM's "
            "log (NVSHMEM_DEBUG=INFO) for the network that it looked for"
        )
