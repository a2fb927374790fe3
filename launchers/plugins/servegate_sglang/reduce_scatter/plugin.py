"""The two hooks, and the check that this SGLang has what they hook."""

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from servegate_sglang.mixed_comm.targets import (
    HookTargetError,
    Role,
    Target,
    Version,
    parse_version,
    resolve,
)
from servegate_sglang.reduce_scatter.counters import Tally
from servegate_sglang.reduce_scatter.switches import FIX, PREFER

logger = logging.getLogger(__name__)

# Read in the wheels of 0.5.16, 0.5.17 and 0.5.23. Between them the choice moved from
# layers/communicator.py, where it is not a function of its own, to layer_boundary/exit.py.
_TARGETS = {
    PREFER: Target(
        role=Role.PREFERENCE,
        path="sglang.srt.layers.layer_boundary.exit._select_dp_reduce_scatter",
        parameters=("forward_batch", "may_reduce_scatter", "reduce_scatterv"),
        since=(0, 5, 23),
    ),
    FIX: Target(
        role=Role.GUARD,
        path="sglang.srt.layers.moe.utils.should_use_dp_reduce_scatterv",
        parameters=(),
        until=(0, 5, 16),
    ),
}


def activate(wanted: Sequence[str], environment: Mapping[str, str]) -> None:
    """Register a hook for each switch.

    Raises:
        HookTargetError: This SGLang does not have what a switch changes.
        NotADirectoryError: The witness folder does not exist.
    """
    text = metadata.version("sglang")
    version = parse_version(text)
    for switch in wanted:
        _check_version(switch, version, text)
    targets = tuple(_TARGETS[switch] for switch in wanted)
    resolve(targets)

    # Only now: this imports SGLang, and an unsupported one may not even import.
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    tally = Tally(_folder(environment), text)
    hooks = {Role.PREFERENCE: prefer(tally), Role.GUARD: guard(tally)}
    for target in targets:
        HookRegistry.register(target.path, hooks[target.role], HookType.AROUND)
    logger.info("REDUCE_SCATTER_PLUGIN loaded for %s", ", ".join(wanted))


def _check_version(switch: str, version: Version, text: str) -> None:
    target = _TARGETS[switch]
    if version > target.until:
        raise HookTargetError(
            f"{switch} has nothing to fix in SGLang {text}, which asks for attention TP 1 itself; "
            "unset it"
        )
    if version < target.since:
        raise HookTargetError(
            f"{switch} is not written for SGLang {text}: {target.path} came with "
            f"{'.'.join(map(str, target.since))}"
        )


def prefer(tally: Tally) -> Callable[..., Any]:
    """AROUND `_select_dp_reduce_scatter`: equal rows go by reduce_scatter, others as they did."""

    def hook(
        original: Callable[..., Any],
        forward_batch: Any,
        *,
        may_reduce_scatter: bool,
        reduce_scatterv: bool,
    ) -> Any:
        equal = original(
            forward_batch, may_reduce_scatter=may_reduce_scatter, reduce_scatterv=False
        )
        changes = reduce_scatterv and equal is not None
        tally.count("prefer", changed=changes)
        if changes or not reduce_scatterv:
            return equal
        return original(forward_batch, may_reduce_scatter=may_reduce_scatter, reduce_scatterv=True)

    return hook


def guard(tally: Tally) -> Callable[..., Any]:
    """AROUND `should_use_dp_reduce_scatterv`: never with attention TP > 1."""

    def hook(original: Callable[..., Any]) -> bool:
        from sglang.srt.runtime_context import get_parallel

        asked = bool(original())
        right = asked and get_parallel().attn_tp_size == 1
        tally.count("fix", changed=asked != right)
        return right

    return hook


def _folder(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("SERVEGATE_WITNESS_DIR", "")
    if named and not Path(named).is_dir():
        raise NotADirectoryError(f"SERVEGATE_WITNESS_DIR={named!r} is not a folder; create it")
    return Path(named) if named else None
