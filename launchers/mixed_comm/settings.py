"""The plugin's settings, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

HANDLER_VARIABLE = "SERVEGATE_MIXED_COMM_HANDLER"
WITNESS_VARIABLE = "SERVEGATE_WITNESS_DIR"


class HandlerChoice(StrEnum):
    """Which implementation computes the operations; auto: flashinfer on CUDA, else reference."""

    AUTO = "auto"
    FLASHINFER = "flashinfer"
    REFERENCE = "reference"


class SettingsError(ValueError):
    """An environment variable of the plugin has a value it cannot work with."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment asks for; `witness_dir` None: no witness files."""

    handler: HandlerChoice
    witness_dir: Path | None


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
    return Settings(handler=HandlerChoice(handler), witness_dir=Path(folder) if folder else None)
