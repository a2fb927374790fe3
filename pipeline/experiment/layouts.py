"""How a server is spread over ranks."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.experiment.strict import Strict

__all__ = ["Layout"]


class Layout(Strict):
    """How a server is spread. Each attention DP size is a layout of its own."""

    tp: int = Field(ge=1, description="Tensor parallel size: all ranks of the server.")
    attention_dp: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Attention DP sizes; each must divide tp. 1: no attention DP."
    )
    ep: int = Field(default=1, ge=1, description="Expert parallel size; must divide tp.")
    nodes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        wrong = [dp for dp in self.attention_dp if self.tp % dp]
        if wrong:
            divisors = [d for d in range(1, self.tp + 1) if self.tp % d == 0]
            raise ValueError(
                f"attention_dp {wrong} does not divide tp {self.tp}; possible: {divisors}"
            )
        if len(set(self.attention_dp)) != len(self.attention_dp):
            raise ValueError(f"attention_dp {self.attention_dp} names a size twice")
        if self.tp % self.ep:
            raise ValueError(f"ep {self.ep} does not divide tp {self.tp}")
        if self.tp % self.nodes:
            raise ValueError(f"nodes {self.nodes} does not divide tp {self.tp}")
        return self
