"""Whether the installed SGLang understands a command line, asked before anything starts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["FlagCheckFailed", "Parsed", "installed_version", "parsed_flags"]

# Importing SGLang took 10 to 30 s on two busy cores.
_DEADLINE_S = 240.0


class FlagCheckFailed(RuntimeError):
    """The engine's interpreter could not be asked."""


def installed_version(python: str | None) -> str | None:
    """The version of SGLang in an interpreter (None: our own), or None where there is none."""
    if python is None:
        try:
            return metadata.version("sglang")
        except metadata.PackageNotFoundError:
            return None
    script = "from importlib import metadata; print(metadata.version('sglang'))"
    try:
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What SGLang's parser makes of one command line.

    Attributes:
        refused: What it says against the command line; "" where it takes it.
        arguments: All arguments with their defaults filled in, but for host and port, as text that
            is equal where they are; "" where it refuses.
    """

    refused: str
    arguments: str


def parsed_flags(python: str, commands: Sequence[Sequence[str]]) -> list[Parsed]:
    """What SGLang's parser makes of each command's arguments.

    Args:
        python: The interpreter that has SGLang.
        commands: Arguments behind ``-m sglang.launch_server``, one list a command.

    Raises:
        FlagCheckFailed: SGLang could not be imported there; the message has its last words.
    """
    script = Path(__file__).with_name("flag_check.py")
    try:
        done = subprocess.run(
            # -P: the script's folder, this package, must not be searched for SGLang's imports.
            [python, "-P", str(script)],
            input=json.dumps([list(argv) for argv in commands]),
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
            env={**os.environ, "SGLANG_PLUGINS": "none"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FlagCheckFailed(f"{python}: SGLang's parser could not be asked: {error}") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise FlagCheckFailed(
            f"{python}: SGLang's parser could not be asked: {''.join(last)}; reinstall the engine, "
            "or give engine.python an interpreter that has it"
        )
    return [Parsed(**answer) for answer in json.loads(done.stdout.splitlines()[-1])]
