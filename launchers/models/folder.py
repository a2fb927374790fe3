"""A model's folder on disk: complete or absent, with a manifest that says what every byte was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA_VERSION = 1
MANIFEST = "servegate-model.json"


class ModelFolderError(Exception):
    """A model's folder is missing, damaged, or could not be made."""


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that becomes `path` if the block ends without an error.

    Two processes may build at the same time: the first to finish wins, the other's is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            os.replace(temporary, path)  # noqa: PTH105  # Path.replace would say the same
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Record the size and SHA-256 of every file in `folder`, and `facts` about how it was made."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in _files(folder)
    }
    manifest = {"schema_version": SCHEMA_VERSION, **facts, "files": files}
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The folder's manifest, once its files' names and sizes agree with it.

    Raises:
        ModelFolderError: no manifest, another schema version, or files that do not agree.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read: {error}") from error
    found = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if found != SCHEMA_VERSION:
        raise _damaged(folder, f"schema_version is {found!r}, this servegate wants 1")
    listed = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    there = {name: (folder / name).stat().st_size for name in _files(folder)}
    wrong = sorted(
        name for name in listed.keys() | there.keys() if listed.get(name) != there.get(name)
    )
    if wrong:
        raise _damaged(folder, f"missing, extra, or of another size: {', '.join(wrong)}")
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Read every file and compare it with the manifest; the manifest.

    Raises:
        ModelFolderError: naming the files that differ.
    """
    manifest = read_manifest(folder)
    changed = [
        name
        for name, entry in manifest["files"].items()
        if _sha256(folder / name) != entry["sha256"]
    ]
    if changed:
        raise _damaged(folder, f"changed since it was made: {', '.join(changed)}")
    return manifest


def _files(folder: Path) -> list[str]:
    """Every file but the manifest, relative to the folder, sorted."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path != folder / MANIFEST
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(folder: Path, why: str) -> ModelFolderError:
    return ModelFolderError(
        f"{folder}: not a whole model folder: {why}; remove the folder and prepare it again"
    )
