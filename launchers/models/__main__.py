"""`python -m launchers.models NAME [--cache DIR]`: make a model's folder and print its path."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from launchers.models import MODELS, ModelFolderError, prepare


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 made or verified, 2 it could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m launchers.models",
        description="Make a model's folder, or verify the one that is there; print its path.",
    )
    parser.add_argument("name", choices=sorted(MODELS), help="which model")
    parser.add_argument("--cache", type=Path, default=None, help="folder that holds the models")
    chosen = parser.parse_args(arguments)
    try:
        path = prepare(chosen.name, chosen.cache)
    except ModelFolderError as error:
        print(f"prepare-model: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to do, and unloading torch's libraries at exit has ended in a segmentation
    # fault, which would make a finished model look like a failure.
    os._exit(code)
