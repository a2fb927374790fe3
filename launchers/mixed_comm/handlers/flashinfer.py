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

from launchers.mixed_comm.handlers.base import Group
from launchers.mixed_comm.policy import GROUP_SIZES, Operation

MODULE = "flashinfer.comm.mixed_comm"
# mixed_comm.py: @supported_compute_capability([90, 100]); 103 and 120 raise.
CAPABILITIES = ((9, 0), (10, 0))
ACCESS_BYTES = 16
# How a host says that its GPUs must not use NVLink multicast, which MixedComm always creates
# (cuMulticastCreate), its unicast modes included. NCCL_NVLS_ENABLE=0 says nothing: SGLang sets it.
_MULTICAST_FORBIDDEN = ("TORCH_SYMM_MEM_DISABLE_MULTICAST", "NVSHMEM_DISABLE_NVLS")


class FlashInferUnavailableError(RuntimeError):
    """MixedComm cannot run on at least one rank; the message has every rank's reasons."""


class FlashInferHandler:
    """One MixedCommHandler for the ranks of one node.

    Its shutdown is collective and would hang once a peer has died, so it is left to the end of
    the process. One stream, and the same sequence of operations on all ranks.
    """

    name = "flashinfer"

    def __init__(self, module: Any, native: Any) -> None:
        """Take flashinfer's module and its constructed MixedCommHandler."""
        self._module = module
        self._native = native
        self._operations = {
            operation: module.MixedCommOp[operation.value] for operation in Operation
        }

    @classmethod
    def build(cls, group: Group) -> "FlashInferHandler":
        """Agree that every rank can, then construct; collective.

        Raises:
            FlashInferUnavailableError: on every rank alike, when one of them cannot.
        """
        reasons: list[list[str]] = [[] for _ in range(group.layout.tp_size)]
        dist.all_gather_object(reasons, unmet_requirements(group), group=group.cpu_group)
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
        native = module.MixedCommHandler(
            world_rank=layout.rank,
            world_size=layout.world_size,
            local_rank=layout.rank,
            local_size=layout.world_size,
            inter_rank=0,
            inter_size=1,
            local_tp_size=layout.attention_tp,
            local_dp_size=layout.attention_dp,
            inter_tp_size=None,
            inter_dp_size=None,
            dtype=group.dtype,
            device=group.device,
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
        """The modes that autotuning chose, by operation and size: they differ between launches."""
        return {
            "autotune_map": {
                operation.name: [mode.name for mode in modes]
                for operation, modes in self._native.autotune_map.items()
            }
        }


def unmet_requirements(group: Group, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What this rank lacks for MixedComm; empty: nothing."""
    unmet: list[str] = []
    if group.layout.nodes != 1:
        unmet.append(f"{group.layout.nodes} nodes (one is supported)")
    if group.layout.world_size not in GROUP_SIZES:
        unmet.append(f"{group.layout.world_size} ranks (2, 4 or 8 are supported)")
    unmet += [
        f"{name}=1 forbids multicast"
        for name in _MULTICAST_FORBIDDEN
        if environment.get(name) == "1"
    ]
    if group.device.type != "cuda":
        unmet.append(f"device {group.device.type} (cuda is needed)")
        return unmet
    capability = torch.cuda.get_device_capability(group.device)
    if capability not in CAPABILITIES:
        unmet.append(f"compute capability {capability} (9.0 or 10.0 is needed)")
    unmet += _import_problems()
    return unmet


def _import_problems() -> list[str]:
    try:
        module = importlib.import_module(MODULE)
    except (ImportError, OSError, RuntimeError) as error:
        return [f"{MODULE} does not import: {error}"]
    names = ("MixedCommHandler", "MixedCommOp", "run_mixed_comm")
    return [f"{MODULE} has no {name}" for name in names if not hasattr(module, name)]
