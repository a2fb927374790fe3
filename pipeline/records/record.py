"""The record of a cell, and how files are written whole or not at all, and read back."""

from __future__ import annotations

import json
import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from evals.accuracy.outcome import counted_answers
from evals.files import DataError
from evals.job import Answer
from pipeline.plan.model import LayoutKey
from pipeline.records.finite import not_finite

__all__ = [
    "PremiseResult",
    "Record",
    "RecordError",
    "State",
    "Status",
    "load",
    "load_record",
    "read_answers",
    "read_json",
    "write_atomic",
    "write_json",
]

_M = TypeVar("_M", bound=BaseModel)

# History of record.json's format:
# 1: first form.
SCHEMA_VERSION = 1


class RecordError(RuntimeError):
    """A run folder or a record in it is missing, damaged or of an unknown version."""


class Status(StrEnum):
    """What became of a cell. Only ``ok`` may count; every other one carries class and reason."""

    OK = "ok"
    FAILED = "failed"
    INVALID = "invalid"
    UNSUPPORTED = "unsupported"
    ABORTED = "aborted"


State = Literal["proved", "unproved", "disproved"]
"""Of a proof that was asked for: found, missing, or the contrary was found."""


class PremiseResult(BaseModel):
    """One thing that had to be true for the record to count, and what was found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    state: State
    detail: str


class Record(BaseModel):
    """One cell: one job on one launch. Written once, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    cell: str
    launch: str
    attempt: int
    arm: str
    layout: LayoutKey
    block: int
    job: str
    kind: str
    status: Status
    failure_class: str
    reason: str
    log_tail: list[str]
    started_at: str
    ended_at: str
    seconds: float
    settings: dict[str, Any]
    metrics: dict[str, float]
    counts: dict[str, int]
    runs: list[dict[str, float]]
    details: dict[str, Any]
    artifacts: dict[str, str]
    premises: list[PremiseResult]


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is whole or absent, also after kill -9 or power loss.

    The temporary file lies in the same folder: a rename is atomic only inside one file system.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON as people diff it: two spaces, a final newline, keys in the given order."""
    # Python's own encoder indents in Python, ten times as slowly.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    write_atomic(path, msgspec.json.format(text, indent=2) + "\n")


def read_json(path: Path) -> object:
    """The JSON of one file of a run folder.

    Raises:
        RecordError: It is missing or damaged, or holds a number that is not finite.
    """
    data, wrong = _parsed(path)
    if wrong:
        raise RecordError(f"{path}: damaged: {wrong}, and servegate writes finite numbers only")
    return data


def _parsed(path: Path) -> tuple[Any, str]:
    """What a file holds, and its first number that is not finite; "" if all are."""
    try:
        content = path.read_bytes()
        try:
            return msgspec.json.decode(content), ""
        except (msgspec.DecodeError, RecursionError):
            # It refuses every number that is not finite, and little else; json says what it is.
            data = json.loads(content.decode("utf-8"))
            return data, next(not_finite(data), "")
    except FileNotFoundError as error:
        raise RecordError(f"{path}: is missing; is this a run folder of servegate?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def load(path: Path, model: type[_M]) -> _M:
    """A plan or what a launch ran with, read back.

    Raises:
        RecordError: It is missing, damaged, or of a version that this servegate does not read.
    """
    return _validated(path, read_json(path), model)


def load_record(path: Path) -> Record:
    """A record, read back.

    One that holds a number that is not finite is no measurement, whatever its status says: it comes
    back as invalid and without its numbers, so that its cell is missing and the others are judged.

    Raises:
        RecordError: It is missing, damaged, or of a version that this servegate does not read.
    """
    data, wrong = _parsed(path)
    if wrong and isinstance(data, dict):
        data = {
            **data,
            "status": Status.INVALID.value,
            "failure_class": "not-finite",
            "reason": f"{wrong}, which is no measured number",
            "seconds": 0.0,
            "settings": {},
            "metrics": {},
            "counts": {},
            "runs": [],
            "details": {},
        }
    return _validated(path, data, Record)


def _validated(path: Path, data: object, model: type[_M]) -> _M:
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: has schema_version {version!r}; this servegate reads {SCHEMA_VERSION}"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}: damaged at {where}: {first['msg']}") from error


def read_answers(cell: Path) -> list[Answer]:
    """All answers of one cell that count, in file order.

    Args:
        cell: The cell's folder.

    Raises:
        RecordError: A file is missing or one of its lines is damaged.
    """
    try:
        return counted_answers(cell)
    except DataError as error:
        raise RecordError(str(error)) from error
