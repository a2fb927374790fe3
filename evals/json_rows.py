"""JSON and JSON Lines that other programs wrote: whole objects, or an error that says where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evals.accuracy.questions import DataError

__all__ = ["read_document", "read_rows"]

# More than any result of a benchmark or evaluator; a file without line ends must not fill memory.
_MOST_BYTES = 512 * 2**20
# A longer integer is no float; no count and no time is.
_MOST_DIGITS = 300
_LONG = re.compile(rb"\d{%d}" % _MOST_DIGITS)


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


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers from 1; blank lines are skipped.

    Lines end at newline bytes alone: a string may hold any other line separator of Unicode.

    Raises:
        DataError: The file cannot be read, holds no line, or a line is no whole JSON object.
    """
    count = 0
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MOST_BYTES + 1):
                number += 1
                if not line.strip():
                    continue
                row = _parse(line, f"{path}:{number}")
                if not isinstance(row, dict):
                    raise DataError(f"{path}:{number}: is {type(row).__name__}, not a JSON object")
                count += 1
                yield number, row
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not count:
        raise DataError(f"{path}: is empty")


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _parse(text: bytes, place: str) -> Any:  # noqa: ANN401 - a JSON value
    if not text.strip():
        raise DataError(f"{place}: is empty")
    if len(text) > _MOST_BYTES:
        raise DataError(f"{place}: is longer than {_MOST_BYTES // 2**20} MiB, so it was not read")
    try:
        value = json.loads(text, parse_int=_integer) if _LONG.search(text) else json.loads(text)
        if b"\\ud" in text or b"\\uD" in text:
            # Half a surrogate pair can be escaped in JSON, but neither printed nor hashed.
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not whole JSON: {error}") from error
    return value
