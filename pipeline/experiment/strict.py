"""The base of all models of an experiment file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Strict"]


class Strict(BaseModel):
    """Refuses unknown keys and every value that is not already of the right type; frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
