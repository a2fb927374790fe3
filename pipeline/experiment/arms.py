"""The sides of the comparison."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator

from launchers.backends import BACKENDS
from pipeline.experiment.serving import WithArgs

__all__ = ["Arm"]

_FACT = re.compile(
    r"^(?:arguments|environment|rank_environment|packages|libraries|machine|gpu)\..+$"
)


class Arm(WithArgs):
    """One side of the comparison: a preset, free flags and environment, or both."""

    preset: str | None = Field(
        default=None, description=f"A communication backend: {', '.join(BACKENDS)}."
    )
    plugins: list[str] = Field(default_factory=list, description="Further SGLang plugins.")
    fake: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the fake engine for this arm; else unused."
    )
    differs: list[str] = Field(
        default_factory=list,
        description="In what else this arm may differ from the reference, as patterns of facts: "
        "arguments.NAME, environment.NAME, rank_environment.NAME, packages.NAME, libraries.NAME, "
        "machine.NAME, gpu.NAME. Everything else that differs makes the arms not comparable.",
    )

    @field_validator("differs")
    @classmethod
    def _facts(cls, differs: list[str]) -> list[str]:
        for pattern in differs:
            if not _FACT.match(pattern):
                raise ValueError(
                    f"{pattern!r} names no fact; write it as a report does, such as "
                    "arguments.page_size or packages.torch"
                )
        return differs

    @field_validator("preset")
    @classmethod
    def _known(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in BACKENDS:
            raise ValueError(f"unknown preset {preset!r}; known: {', '.join(BACKENDS)}")
        return preset
