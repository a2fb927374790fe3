"""What the hooks ask of an implementation of the fused operations."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist

from servegate_sglang.mixed_comm.policy import Layout, Operation


@dataclass(frozen=True, kw_only=True)
class Group:
    """The ranks a handler is built for; `dtype` and `device` are those of the hidden states."""

    layout: Layout
    dtype: torch.dtype
    device: torch.device
    # Both of all tp * dp ranks: one carries tensors, the other Python objects.
    device_group: dist.ProcessGroup
    cpu_group: dist.ProcessGroup


class Handler(Protocol):
    """Computes the operations for one group of tp * dp ranks, rank = dp_rank * tp + tp_rank.

    | operation | x | out, on every rank |
    |---|---|---|
    | ALLREDUCE_ALLGATHER | [m, H] | [m * dp, H]: block j is the sum over the ranks of DP group j |
    | REDUCESCATTER_ALLREDUCE | [m * dp, H] | [m, H]: block dp_rank of the sum over all ranks |
    | ALLGATHER (tp = 1) | [m, H] | [m * dp, H]: block j is rank j's |
    | REDUCESCATTER (tp = 1) | [m * dp, H] | [m, H]: block dp_rank of the sum over all ranks |

    Sums are taken in fp32 in rank order and rounded once, so that peers of a DP group get the
    same bits; -0.0 becomes +0.0, because the fused kernel marks unwritten memory with it.
    """

    @property
    def name(self) -> str:
        """What the witness calls it."""
        ...

    @property
    def kernels(self) -> str:
        """The family of kernels that it launches, as a trace shows them."""
        ...

    def run(self, operation: Operation, x: torch.Tensor, out: torch.Tensor) -> None:
        """Compute `out`; collective, and `x` stays as it is."""
        ...

    def details(self) -> dict[str, Any]:
        """JSON values for the witness: what else can change a number."""
        ...
