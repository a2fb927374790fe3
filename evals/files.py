"""JSON Lines: one object a line, each a whole model or an error that names its line.

A line ends at a newline byte and nowhere else: JSON strings may hold every other separator of
Unicode (U+2028, U+0085, ...), at which ``str.splitlines`` parts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from evals.accuracy.questions import DataError

__all__ = ["read_lines", "split_lines"]

_M = TypeVar("_M", bound=BaseModel)


def split_lines(content: bytes) -> list[bytes]:
    """The lines of a file, without their newlines; the last one may lack its own."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def read_lines(path: Path, model: type[_M], what: str) -> list[_M]:
    """Every line of a file, in order.

    Args:
        path: The file.
        model: What each line is.
        what: What an error calls a whole line, such as ``answer``.

    Raises:
        DataError: The file cannot be read, or a line of it is not whole.
    """
    try:
        lines = split_lines(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    found: list[_M] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(model.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path}:{number}: is no whole {what} line") from error
    return found
