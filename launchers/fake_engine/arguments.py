"""SGLang's command line, taken as far as a client can see it again in /server_info."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["UsageError", "resolve"]

# Names with a shorter spelling, and what /server_info shows where nothing is said (0.5.23).
_ALIASES = {
    "model": "model_path",
    "tp": "tp_size",
    "tensor_parallel_size": "tp_size",
    "dp": "dp_size",
    "data_parallel_size": "dp_size",
    "ep": "ep_size",
    "expert_parallel_size": "ep_size",
    "pp": "pp_size",
}
_DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 30000,
    "tp_size": 1,
    "dp_size": 1,
    "attn_dp_size": 1,
    "ep_size": 1,
    "pp_size": 1,
    "nnodes": 1,
    "enable_dp_attention": False,
    "incremental_streaming_output": False,
    "random_seed": 0,
}
_NUMBERS = ("port", "tp_size", "dp_size", "attn_dp_size", "ep_size", "pp_size", "nnodes")


class UsageError(ValueError):
    """Arguments that SGLang would refuse as well."""


def resolve(argv: Sequence[str]) -> dict[str, Any]:
    """`--tp-size 4 --x --y 1 2` as `{"tp_size": 4, "x": True, "y": [1, 2], ...}`, with defaults.

    `--dp-size N --enable-dp-attention` becomes attn_dp_size N, dp_size 1, as in 0.5.23
    (srt/arg_groups/parallel_hook.py, handle_deprecated_dp_attention).

    Raises:
        UsageError: no model, a size that is no positive number, or sizes that do not divide.
    """
    given = _given(argv)
    if "model_path" not in given:
        raise UsageError("the following arguments are required: --model-path/--model")
    resolved = {**_DEFAULTS, **given}
    for name in _NUMBERS:
        if type(resolved[name]) is not int or resolved[name] < 1:
            raise UsageError(f"argument --{name.replace('_', '-')}: invalid: {resolved[name]!r}")
    if resolved["enable_dp_attention"] and resolved["attn_dp_size"] == 1:
        resolved |= {"attn_dp_size": resolved["dp_size"], "dp_size": 1}
    if resolved["tp_size"] % resolved["attn_dp_size"]:
        raise UsageError(
            f"argument --attn-dp-size: {resolved['attn_dp_size']} does not divide the tensor"
            f" parallel size {resolved['tp_size']}"
        )
    resolved["enable_dp_attention"] = resolved["attn_dp_size"] > 1
    for name in ("served_model_name", "tokenizer_path"):
        resolved.setdefault(name, resolved["model_path"])
    return resolved


def _given(argv: Sequence[str]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    name = None
    for argument in argv:
        if argument.startswith("--"):
            name, equals, value = argument[2:].replace("-", "_", 1).partition("=")
            name = name.replace("-", "_")
            name = _ALIASES.get(name, name)
            found[name] = [value] if equals else []
        elif name is None:
            raise UsageError(f"unrecognized arguments: {argument}")
        else:
            found[name].append(argument)
    return {name: _value(values) for name, values in found.items()}


def _value(values: Sequence[str]) -> Any:  # noqa: ANN401 - a flag's value has the type it looks like
    if not values:
        return True
    typed = [_typed(value) for value in values]
    return typed[0] if len(typed) == 1 else typed


def _typed(value: str) -> Any:  # noqa: ANN401 - see _value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    if value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
