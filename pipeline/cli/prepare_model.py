"""`servegate prepare-model`: a small model made here, for machines that can download none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from launchers.models import MODELS, default_cache, prepared_path
from pipeline.cli.console import endings, say

__all__ = ["prepare_model"]


def prepare_model(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(MODELS)}.")],
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", help="Cache folder; default $SERVEGATE_CACHE or ~/.cache/servegate."
        ),
    ] = None,
) -> None:
    """Make a small model for machines that can download none, and check it against the original.

    Example: servegate prepare-model smollm2-moe
    """
    with endings():
        folder = cache if cache is not None else default_cache()
        there = prepared_path(name, folder).exists()  # refuses an unknown name at once
        say(f"checking {name}" if there else f"making {name}, about two minutes")
        # transformers' bars and torch's warnings on empty layers would bury what matters.
        argv = [sys.executable, "-W", "ignore", "-P", "-m", "launchers.models", name]
        done = subprocess.run([*argv, "--cache", str(folder)], check=False, env=_quiet(os.environ))
        raise typer.Exit(done.returncode)


def _quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """No progress bars; one thread, since on a busy machine OpenMP's barriers cost far more."""
    return {**environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
