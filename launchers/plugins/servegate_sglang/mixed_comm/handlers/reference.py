"""The fused operations over torch.distributed, on any device and backend: meaning, not speed.

Each operation is one all-gather of every rank's input and a local sum, where SGLang needs two
collectives (benchmarks/mixed_comm_exchange.py times both). It moves more bytes than a fused kernel
would, which decode batches of a few rows do not feel.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from servegate_sglang.mixed_comm.policy import Operation


class ReferenceHandler:
    """Rounds as the fused kernel does: fp32 sums in rank order, one rounding, -0.0 to +0.0.

    Source of the kernel's rounding: flashinfer 0.7.2, include/flashinfer/comm/mixed_comm.cuh
    (`replace_neg_zero`, `convert_dtype`).
    """

    name = "reference"

    def __init__(self, tp: int, dp: int, group: dist.ProcessGroup) -> None:
        """Take the attention TP and DP sizes, and the group of all tp * dp ranks in rank order."""
        self._tp = tp
        self._dp = dp
        self._group = group
        self._dp_rank = dist.get_rank(group) // tp
        self.kernels = f"torch.distributed:{dist.get_backend(group)}"

    def run(self, operation: Operation, x: torch.Tensor, out: torch.Tensor) -> None:
        """Compute `out` from `x` (shapes in `Handler`)."""
        everybody = x.new_empty((self._tp * self._dp, *x.shape))
        _all_gather(everybody.flatten(0, 1), x, group=self._group)
        if operation in (Operation.ALLGATHER, Operation.ALLREDUCE_ALLGATHER):
            # [dp, tp, m, H]: the blocks of `out` are the DP groups.
            groups = everybody.view(self._dp, self._tp, *x.shape)
            _sum_into(out.view(self._dp, *x.shape), groups.unbind(1))
        else:
            # [tp * dp, dp, m, H]: of every rank's input, the block of this DP group.
            blocks = everybody.view(self._tp * self._dp, self._dp, *out.shape)
            _sum_into(out, blocks[:, self._dp_rank].unbind(0))

    def details(self) -> dict[str, Any]:
        """The backend that carries the exchange."""
        return {"backend": dist.get_backend(self._group)}


def _all_gather(out: torch.Tensor, x: torch.Tensor, *, group: dist.ProcessGroup) -> None:
    """Concatenate `x` of all ranks; torch 2.14 renamed the collective and warns of the old name."""
    if hasattr(dist, "all_gather_single"):
        dist.all_gather_single(out, x, group=group)
    else:
        dist.all_gather_into_tensor(out, x, group=group)


def _sum_into(target: torch.Tensor, terms: Sequence[torch.Tensor]) -> None:
    """Sum in fp32 in the order given; rounding may leave -0.0, which adding zero makes +0.0."""
    total = terms[0].float()
    for term in terms[1:]:
        total += term
    target.copy_(total)
    target += 0.0
