"""Files with one JSON object a line, each a whole model or an error that names its line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from evals.accuracy.questions import DataError

__all__ = ["read_lines"]

_M = TypeVar("_M", bound=BaseModel)


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
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    found: list[_M] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(model.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path}:{number}: is no whole {what} line") from error
    return found
