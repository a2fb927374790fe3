"""Answers of an attempt that was broken off, carried over so that only the rest is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import ValidationError

from evals.accuracy.files import ANSWERS, PROTOCOL, BadFileError, Protocol, read_answers
from evals.job import Answer

__all__ = ["carried", "carry_over"]

_ANSWERS = f"carried-{ANSWERS}"
_PROTOCOL = f"carried-{PROTOCOL}"

# Of the protocol: all that must be the same for an old answer to stand for a new one.
_SAME = ("protocol_digest", "ids", "questions_digest")


def carry_over(old: Path, new: Path) -> int:
    """Copy what is usable of a broken-off cell into the folder of its next attempt.

    Answers to requests that failed are left behind, to be asked again, and so is a line that the
    break cut off. The client takes them only if it is about to ask the very same
    (:func:`carried`).

    Args:
        old: The cell's folder of the attempt that was broken off; may lack everything.
        new: The cell's folder of the next attempt; exists, and is empty.

    Returns:
        How many answers were carried over.
    """
    # An attempt may have been broken off before it asked anything, with answers carried into it.
    names = ((PROTOCOL, ANSWERS), (_PROTOCOL, _ANSWERS))
    there = [pair for pair in names if all((old / name).is_file() for name in pair)]
    if not there:
        return 0
    protocol, answers = there[0]
    try:
        found = read_answers(old / answers)[0]
    except BadFileError:
        return 0
    usable = {(one.id, one.repeat): one for one in found if one.mark != "error"}
    if not usable:
        return 0
    shutil.copyfile(old / protocol, new / _PROTOCOL)
    text = "".join(one.model_dump_json() + "\n" for one in usable.values())
    (new / _ANSWERS).write_text(text, encoding="utf-8")
    return len(usable)


def carried(cell: Path) -> list[Answer]:
    """The answers that were carried over into a cell whose protocol.json is written.

    Empty where the questions or the way of asking have changed since: then all is asked anew.
    """
    try:
        old = _protocol(cell / _PROTOCOL)
        new = _protocol(cell / PROTOCOL)
        if any(getattr(old, name) != getattr(new, name) for name in _SAME):
            return []
        return read_answers(cell / _ANSWERS)[0]
    except (OSError, ValueError, ValidationError, BadFileError):
        return []


def _protocol(file: Path) -> Protocol:
    return Protocol.model_validate(json.loads(file.read_text(encoding="utf-8")))
