"""How the ranks of a TP group that spans nodes are numbered, in SGLang and in FlashInfer."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """One rank's place, as flashinfer's MixedCommHandler wants it. Sizes count ranks."""

    local_rank: int
    local_size: int
    inter_rank: int
    inter_size: int
    local_tp: int
    local_dp: int
    inter_tp: int
    inter_dp: int

    @property
    def attention_tp_rank(self) -> int:
        """As FlashInfer computes it (0.7.2, comm/mixed_comm.py, ParallelInfo.tp_rank)."""
        return self.local_rank % self.local_tp + self.inter_rank % self.inter_tp * self.local_tp

    @property
    def attention_dp_rank(self) -> int:
        """As FlashInfer computes it (ParallelInfo.dp_rank)."""
        return self.local_rank // self.local_tp + self.inter_rank // self.inter_tp * self.local_dp


def place(rank: int, *, attention_tp: int, attention_dp: int, nodes: int) -> Nodes:
    """Split both sizes into what lies inside a node and what lies across nodes.

    SGLang numbers rank = dp_rank * attention_tp + tp_rank and fills one node after the other, so
    that peers of an attention TP group lie as near each other as they can: either whole groups are
    inside a node, or a group covers whole nodes.

    Raises:
        ValueError: The sizes do not fill the nodes in one of these two ways.
    """
    world = attention_tp * attention_dp
    local = world // nodes
    if world % nodes or (local % attention_tp and attention_tp % local):
        raise ValueError(
            f"attention TP {attention_tp} x DP {attention_dp} does not fill {nodes} nodes evenly"
        )
    local_tp = min(attention_tp, local)
    return Nodes(
        local_rank=rank % local,
        local_size=local,
        inter_rank=rank // local,
        inter_size=nodes,
        local_tp=local_tp,
        local_dp=local // local_tp,
        inter_tp=attention_tp // local_tp,
        inter_dp=nodes // (attention_tp // local_tp),
    )
