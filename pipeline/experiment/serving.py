"""What is served, by what, and how its server is reached."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from launchers.backends import ArgValue
from launchers.engines import ENGINE_VERSIONS
from launchers.models import MODELS
from pipeline.experiment.strict import Strict

_FLAG = re.compile(r"^[a-z][a-z0-9-]*$")

Args = dict[str, ArgValue]
Env = dict[str, str]

_DP = "layouts[].attention_dp (replicas of a whole server behind a router are not measured)"

# Flags that servegate writes itself, and the key that a user sets instead.
_OWNED = {
    "host": "server.host",
    "port": "server.port",
    "model": "model.path",
    "model-path": "model.path",
    "served-model-name": "model.served_name",
    "tp": "layouts[].tp",
    "tp-size": "layouts[].tp",
    "tensor-parallel-size": "layouts[].tp",
    "dp": _DP,
    "dp-size": _DP,
    "data-parallel-size": _DP,
    "attn-dp-size": "layouts[].attention_dp",
    "enable-dp-attention": "layouts[].attention_dp",
    "ep": "layouts[].ep",
    "ep-size": "layouts[].ep",
    "expert-parallel-size": "layouts[].ep",
    "nnodes": "layouts[].nodes",
    "device": "engine.device",
}
_OWNED_ENV = {
    "SGLANG_PLUGINS": "server.plugins",
    "SERVEGATE_WITNESS_DIR": "nothing: servegate sets it for each launch",
}


class WithArgs(Strict):
    """Flags and environment, of all arms or of one."""

    args: Args = Field(
        default_factory=dict,
        description="Server flags by name without dashes: true is a bare flag, false or null "
        "leaves it out, a list gives several values, a mapping is passed as JSON.",
    )
    env: Env = Field(default_factory=dict, description="Environment variables; quote the values.")

    @field_validator("args")
    @classmethod
    def _own_flags(cls, args: Args) -> Args:
        return _check_args(args, frozenset(_OWNED))

    @field_validator("env")
    @classmethod
    def _own_env(cls, env: Env) -> Env:
        for name in env:
            if name in _OWNED_ENV:
                raise ValueError(f"{name} is set by servegate; use {_OWNED_ENV[name]}")
        return env


def _check_args(args: Args, owned: frozenset[str]) -> Args:
    for flag in args:
        if not _FLAG.match(flag):
            raise ValueError(f"flag {flag!r} must be written without dashes in front, as tp-size")
        if flag in owned:
            raise ValueError(f"flag {flag!r} is set by servegate from {_OWNED[flag]}; use that")
    return args


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
