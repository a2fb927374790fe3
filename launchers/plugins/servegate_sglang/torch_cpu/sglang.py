"""Names in SGLang's modules: looked up and replaced, or the process ends with what is missing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType


def find(module: str, name: str) -> Any:
    """What SGLang's module calls `name`.

    Raises:
        SystemExit: the module or the name is gone.
    """
    loaded = _load(module)
    if name not in vars(loaded):
        raise gone(module, name)
    return vars(loaded)[name]


def replace(module: str, name: str, value: object) -> None:
    """Let SGLang's module call `value` by `name`, which it must already have.

    Raises:
        SystemExit: the module or the name is gone.
    """
    find(module, name)
    setattr(_load(module), name, value)


def _load(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise gone(module, str(error)) from error


def gone(module: str, name: str) -> SystemExit:
    """What to raise for a target that is not there.

    SystemExit, since SGLang's plugin loader logs an Exception and serves on without the plugin.
    """
    return SystemExit(
        f"servegate_sglang.torch_cpu: {module} has no {name} in the installed sglang; "
        "this plugin was written for sglang 0.5.23: install that version"
    )
