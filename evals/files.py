"""Files that jobs leave and read: whole values, or an error that says where.

A line ends at a newline byte and nowhere else: JSON strings may hold every other separator of
Unicode (U+2028, U+0085, ...), at which ``str.splitlines`` parts them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

__all__ = [
    "DataError",
    "digest",
    "read_document",
    "read_lines",
    "read_rows",
    "split_lines",
    "write_whole",
]

_M = TypeVar("_M", bound=BaseModel)

# More than any result of a benchmark or evaluator; a file without line ends must not fill memory.
_MOST_BYTES = 512 * 2**20
# A longer integer is no float; no count and no time is.
_MOST_DIGITS = 300
_LONG = re.compile(rb"\d{%d}" % _MOST_DIGITS)


class DataError(ValueError):
    """A file or data set cannot be used; the message says which, where, and what to do."""


def digest(value: object) -> str:
    """The sha256 of a JSON value written in one fixed way."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105  Path.replace would hide that it is atomic


def split_lines(content: bytes) -> list[bytes]:
    """The lines of a file, without their newlines; the last one may lack its own."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def read_lines(path: Path, model: type[_M], what: str) -> list[_M]:
    """Every line of a file that a job wrote, in order; a blank line is damage.

    Args:
        path: The file.
        model: What each line is.
        what: What an error calls a whole line, such as ``answer``.

    Raises:
        DataError: The file cannot be read, or a line of it is not whole.
    """
    found: list[_M] = []
    for number, line in _lines(path):
        try:
            found.append(model.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path}:{number}: is no whole {what} line") from error
    return found


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers from 1; blank lines are skipped.

    For files that other programs wrote.

    Raises:
        DataError: The file cannot be read, holds no line, or a line is no whole JSON object.
    """
    count = 0
    for number, line in _lines(path):
        if not line.strip():
            continue
        row = _parse(line, f"{path}:{number}")
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: is {type(row).__name__}, not a JSON object")
        count += 1
        yield number, row
    if not count:
        raise DataError(f"{path}: is empty")


def read_document(path: Path) -> Any:  # noqa: ANN401 - a JSON value
    """The one JSON value of a file.

    Raises:
        DataError: The file cannot be read, is empty, too large, or not JSON.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return _parse(text, str(path))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MOST_BYTES + 1):
                number += 1
                _check_length(line, f"{path}:{number}")
                yield number, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _check_length(text: bytes, place: str) -> None:
    if len(text) > _MOST_BYTES:
        raise DataError(f"{place}: is longer than {_MOST_BYTES // 2**20} MiB, so it was not read")


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _parse(text: bytes, place: str) -> Any:  # noqa: ANN401 - a JSON value
    if not text.strip():
        raise DataError(f"{place}: is empty")
    _check_length(text, place)
    try:
        value = json.loads(text, parse_int=_integer) if _LONG.search(text) else json.loads(text)
        if b"\\ud" in text or b"\\uD" in text:
            # Half a surrogate pair can be escaped in JSON, but neither printed nor hashed.
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not whole JSON: {error}") from error
    return value
