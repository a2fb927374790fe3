"""How commands speak: results on stdout, all else on stderr, and each ending has its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from launchers.models import ModelFolderError
from pipeline import exit_codes
from pipeline.experiment.yaml_source import SourceError
from pipeline.records.record import RecordError

__all__ = ["endings", "refuse", "say", "stderr", "stdout"]


def stdout() -> Console:
    """Stdout, with no width of its own: long lines stay whole."""
    return Console(soft_wrap=True, highlight=False)


def stderr() -> Console:
    """Stderr, likewise."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def refuse(problems: list[str]) -> NoReturn:
    """Print every problem and end with the exit code of wrong usage."""
    console = stderr()
    for problem in problems:
        console.print(f"error: {problem}", markup=False)
    raise typer.Exit(exit_codes.USAGE)


@contextmanager
def endings() -> Iterator[None]:
    """Turn what a user can mend into a message and its exit code."""
    try:
        yield
    except SourceError as error:
        refuse(error.problems)
    except (RecordError, ModelFolderError) as error:
        refuse([str(error)])
    except KeyboardInterrupt as error:
        stderr().print("interrupted", style="yellow")
        raise typer.Exit(exit_codes.INTERRUPTED) from error


def say(text: str) -> None:
    """Tell that something slow begins."""
    stderr().print(f"{text} ...", style="dim", markup=False)
