"""The plugin's settings, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

HANDLER_VARIABLE = "SERVEGATE_MIXED_COMM_HANDLER"
WITNESS_VARIABLE = "SERVEGATE_WITNESS_DIR"
BUILD_VARIABLE = "SERVEGATE_MIXED_COMM_BUILD"


class HandlerChoice(StrEnum):
    """Which implementation computes the operations; auto: flashinfer on CUDA, else reference."""

    AUTO = "auto"
    FLASHINFER = "flashinfer"
    REFERENCE = "reference"


class SettingsError(ValueError):
    """An environment variable of the plugin has a value it cannot work with."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment asks for; `witness_dir` None: no witness files.

    `may_compile` lets a server compile FlashInfer's kernels itself, for many minutes.
    """

    handler: HandlerChoice
    witness_dir: Path | None
    may_compile: bool


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings; SettingsError says which variable is wrong and what it may be."""
    handler = environment.get(HANDLER_VARIABLE, HandlerChoice.AUTO)
    if handler not in tuple(HandlerChoice):
        raise SettingsError(
            f"{HANDLER_VARIABLE}={handler!r} is not known; use one of {', '.join(HandlerChoice)}"
        )
    folder = environment.get(WITNESS_VARIABLE, "")
    if folder and not Path(folder).is_dir():
        raise SettingsError(f"{WITNESS_VARIABLE}={folder!r} is not a folder; create it first")
    compiling = environment.get(BUILD_VARIABLE, "0")
    if compiling not in ("0", "1"):
        raise SettingsError(f"{BUILD_VARIABLE}={compiling!r} is not understood; use 1 or 0")
    return Settings(
        handler=HandlerChoice(handler),
        witness_dir=Path(folder) if folder else None,
        may_compile=compiling == "1",
    )
