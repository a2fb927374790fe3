"""What the jobs' own client processes share: arguments, how failures are kept, plain HTTP."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evals.accuracy.files import FAILURE
from evals.files import write_whole

if TYPE_CHECKING:
    import requests

__all__ = ["arguments", "keep_failure", "kept_failure", "session"]


def arguments(name: str, about: str | None, given: Sequence[str] | None) -> argparse.Namespace:
    """``base_url``, ``settings`` (JSON) and ``out`` (the cell's folder) of a client's command."""
    parser = argparse.ArgumentParser(prog=f"python -m evals.{name}", description=about)
    parser.add_argument("--base-url", required=True, help="http://host:port of the server")
    parser.add_argument("--settings", required=True, help="the job's settings as JSON")
    parser.add_argument("--out", required=True, help="folder of the cell")
    return parser.parse_args(given)


def keep_failure(cell: Path, failure_class: str, reason: str) -> None:
    """Keep why the client gave up, for the job to read, and say it in the log."""
    sys.stderr.write(f"client: {reason}\n")
    write_whole(cell / FAILURE, json.dumps({"class": failure_class, "reason": reason}))


def kept_failure(cell: Path) -> tuple[str, str] | None:
    """Class and reason, as the client kept them; None if it kept none."""
    try:
        told = json.loads((cell / FAILURE).read_text(encoding="utf-8"))
        return str(told["class"]), str(told["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def session() -> requests.Session:
    """A session that goes to the server itself, whatever proxy the environment names."""
    import requests

    made = requests.Session()
    made.trust_env = False
    return made
