"""What is served, by what, and how its server is reached."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from launchers.engines import ENGINE_VERSIONS
from launchers.models import MODELS
from pipeline.spec.flags import WithArgs
from pipeline.spec.strict import Strict

__all__ = ["EngineSpec", "Model", "Server"]


class Model(Strict):
    """The model that every arm serves."""

    path: str | None = Field(default=None, description="Folder or hub name of the model.")
    prepare: str | None = Field(
        default=None, description=f"A model that servegate makes itself: {', '.join(MODELS)}."
    )
    served_name: str | None = Field(default=None, description="Name under /v1/models.")
    tokenizer: str | None = Field(
        default=None, description="Tokenizer for the benchmark client; null: the model's own."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.prepare is None):
            raise ValueError("give exactly one of path and prepare")
        if self.prepare is not None and self.prepare not in MODELS:
            raise ValueError(f"prepare: unknown {self.prepare!r}; known: {', '.join(MODELS)}")
        return self


class EngineSpec(Strict):
    """What serves: the real SGLang, or the fake engine that only speaks like it."""

    name: Literal["sglang", "fake"] = "sglang"
    version: str = Field(
        default=ENGINE_VERSIONS[-1],
        pattern=r"^\d+\.\d+\.\d+",
        description="The SGLang version whose flags are written; must be the installed one.",
    )
    device: Literal["cuda", "cpu"] = Field(
        default="cuda",
        description="cpu: SGLang through servegate's platform plugin, no GPU needed.",
    )
    python: str | None = Field(
        default=None, description="Interpreter that has SGLang; null: servegate's own."
    )
    fake: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the fake engine for all arms."
    )


class Server(WithArgs):
    """Flags and environment that all arms share, and how a server is reached and waited for."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535, description="null: any free port.")
    plugins: list[str] = Field(
        default_factory=list,
        description="SGLang plugins that all arms load. SGLANG_PLUGINS is always set explicitly, "
        "so that the arms differ in nothing but what they declare.",
    )
    ready_timeout_s: float = Field(default=1800.0, gt=0)
    stop_timeout_s: float = Field(default=60.0, gt=0)
