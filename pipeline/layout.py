"""How one server is spread over ranks, as a key that records and rows are grouped by."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["LayoutKey"]


class LayoutKey(BaseModel):
    """Tensor parallel size, attention DP size, expert parallel size, nodes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tp: int
    attention_dp: int
    ep: int
    nodes: int

    @property
    def attention_tp(self) -> int:
        """Ranks that share one request's attention."""
        return self.tp // self.attention_dp

    @property
    def fuses(self) -> bool:
        """True where MixedComm has something to fuse: 1 < attention DP < TP."""
        return 1 < self.attention_dp < self.tp

    def __str__(self) -> str:
        nodes = f"-n{self.nodes}" if self.nodes > 1 else ""
        return f"tp{self.tp}-dp{self.attention_dp}-ep{self.ep}{nodes}"
