"""The SGLang functions this plugin hooks, by version, each checked before any hook is registered.

Read in the wheels of SGLang 0.5.16 to 0.5.23. What differs between them: until 0.5.20
`initialize_dp_attention` also sizes the gathered buffer, from 0.5.21 `init_dp_gathered_buffer`
does; both run once per scheduler after torch.distributed is initialised and before memory is
sized. Only 0.5.23 sends small decode batches past the gather and the reduce-scatter.
"""

import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

Version = tuple[int, int, int]
OLDEST: Version = (0, 5, 16)
NEWEST: Version = (0, 5, 23)

_DP_ATTENTION = "sglang.srt.layers.dp_attention"


class Role(StrEnum):
    """What a hook is for; the witness names hooks so."""

    START = "start"
    GATHER = "gather"
    SCATTER = "scatter"
    PADDING = "padding"
    # Of the plugin launchers/plugins/servegate_sglang/reduce_scatter.
    PREFERENCE = "preference"
    GUARD = "guard"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A function to hook: its dotted path, its parameters, and the versions that have it."""

    role: Role
    path: str
    parameters: tuple[str, ...]
    since: Version = OLDEST
    until: Version = NEWEST


TARGETS = (
    Target(
        role=Role.START,
        path=f"{_DP_ATTENTION}.initialize_dp_attention",
        parameters=("server_args", "model_config"),
        until=(0, 5, 20),
    ),
    Target(
        role=Role.START,
        path=f"{_DP_ATTENTION}.init_dp_gathered_buffer",
        parameters=("model_config",),
        since=(0, 5, 21),
    ),
    Target(
        role=Role.GATHER,
        path=f"{_DP_ATTENTION}._dp_gather_via_all_gather",
        parameters=("global_tokens", "local_tokens", "forward_batch", "is_partial"),
    ),
    Target(
        role=Role.SCATTER,
        path=f"{_DP_ATTENTION}.dp_reduce_scatter_tensor",
        parameters=("output", "input"),
    ),
    Target(
        role=Role.PADDING,
        path=f"{_DP_ATTENTION}._decode_sum_len_fits_custom_all_reduce",
        parameters=("global_num_tokens",),
        since=(0, 5, 23),
    ),
)


class UnsupportedVersionError(RuntimeError):
    """The SGLang installed here is not one whose sources this plugin was written against."""


class HookTargetError(RuntimeError):
    """SGLang has not the functions, or not with the parameters, that the hooks rely on."""


def parse_version(text: str) -> Version:
    """`0.5.23`, `0.5.16.post1` or `0.5.23+cu130` as three numbers."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise UnsupportedVersionError(f"SGLang version {text!r} is not understood")
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch)


def targets_for(text: str) -> tuple[Target, ...]:
    """The targets of one SGLang version, or UnsupportedVersionError outside 0.5.16 to 0.5.23."""
    version = parse_version(text)
    if not OLDEST <= version <= NEWEST:
        raise UnsupportedVersionError(
            f"SGLang {text} is not supported; this plugin was written against "
            f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}. Install one of "
            "those, or unset SGLANG_USE_MIXED_COMM"
        )
    return tuple(target for target in TARGETS if target.since <= version <= target.until)


def resolve(targets: tuple[Target, ...]) -> Mapping[Role, Callable[..., Any]]:
    """The functions themselves, by role; HookTargetError names all that is missing at once."""
    found: dict[Role, Callable[..., Any]] = {}
    missing: list[str] = []
    for target in targets:
        try:
            function = pkgutil.resolve_name(target.path)
        except (ImportError, AttributeError) as error:
            missing.append(f"{target.path}: {error}")
            continue
        parameters = tuple(inspect.signature(function).parameters)
        if parameters != target.parameters:
            missing.append(f"{target.path} takes {parameters}, expected {target.parameters}")
        found[target.role] = function
    if missing:
        raise HookTargetError("hook target missing: " + "; ".join(missing))
    return MappingProxyType(found)


def not_hooked(
    targets: tuple[Target, ...], originals: Mapping[Role, Callable[..., Any]]
) -> list[str]:
    """The targets that are still SGLang's own: applying a hook failed, which SGLang only logs."""
    return [
        target.path
        for target in targets
        if pkgutil.resolve_name(target.path) is originals[target.role]
    ]
