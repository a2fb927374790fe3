"""Server flags and environment as a file gives them, and those that servegate sets itself."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from launchers.backends import ArgValue
from pipeline.spec.strict import Strict

__all__ = ["Args", "Env", "WithArgs"]

_FLAG = re.compile(r"^[a-z][a-z0-9-]*$")

Args = dict[str, ArgValue]
Env = dict[str, str]

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
    "dp": "layouts[].attention_dp",
    "dp-size": "layouts[].attention_dp",
    "data-parallel-size": "layouts[].attention_dp",
    "attn-dp-size": "layouts[].attention_dp",
    "enable-dp-attention": "layouts[].attention_dp",
    "ep": "layouts[].ep",
    "ep-size": "layouts[].ep",
    "expert-parallel-size": "layouts[].ep",
    "nnodes": "layouts[].nodes",
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
