"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AllowImpossible",
    "AsJson",
    "EngineName",
    "EngineOption",
    "ExperimentFile",
    "Overrides",
    "RunPath",
    "VarianceFrom",
]


class EngineName(StrEnum):
    """What serves."""

    SGLANG = "sglang"
    FAKE = "fake"


ExperimentFile = Annotated[Path, typer.Argument(help="The experiment's YAML file.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder, runs/EXPERIMENT/STAMP-HASH.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", help="Override a key; the value is YAML. Repeatable."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
AllowImpossible = Annotated[
    bool,
    typer.Option("--allow-impossible", help="Do not refuse gates that can never fire or pass."),
]
VarianceFrom = Annotated[
    Path | None,
    typer.Option("--variance-from", help="Take variances, tokens and pace from this run."),
]
EngineOption = Annotated[
    EngineName | None, typer.Option("--engine", help="Serve with this in place of the file's.")
]
