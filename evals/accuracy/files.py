"""The files of an accuracy cell: their names, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evals.files import split_lines
from evals.job import Answer

__all__ = [
    "ANSWERS",
    "FAILURE",
    "PROGRESS",
    "PROMPT",
    "PROTOCOL",
    "SUMMARY",
    "BadFileError",
    "Protocol",
    "read_answers",
    "read_json",
    "read_protocol",
]

ANSWERS = "answers.jsonl"  # one evals.job.Answer a line, appended as they come
PROTOCOL = "protocol.json"  # what was asked and how, written before the first request
PROMPT = "prompt.yaml"  # the template with its worked examples written in
PROGRESS = "progress.json"  # {done, total, correct}, renewed while it runs
SUMMARY = "sgl-eval.json"  # sgl-eval's own aggregate, written at the end
FAILURE = "failure.json"  # {class, reason}, where the client knows why it gave up


class Protocol(BaseModel):
    """What is asked and how, known before the first request: the content of protocol.json.

    Cells may be compared only when their `protocol_digest` is equal: it covers all that can
    move a score except the server (see :func:`evals.accuracy.protocol.protocol_digest`).

    `grader` names the marker with its version, and `corrections` what it reads otherwise than
    sgl-eval's graders; there is none where those marked by themselves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    benchmark: str
    source: str
    data_sha256: str
    rows: int
    examples: int
    repeats: int = Field(ge=1)
    concurrency: int
    generation: dict[str, Any]
    few_shot: int
    prompt: str
    sgl_eval: str
    grader: str
    corrections: list[str] = []
    ids_digest: str
    questions_digest: str
    protocol_digest: str
    ids: list[str]


class BadFileError(ValueError):
    """A file of a cell cannot be read; the message says which and where."""


def read_answers(file: Path) -> tuple[list[Answer], bool]:
    """The answers of a file, and whether it ends in the middle of a line.

    Raises:
        BadFileError: A whole line is not an Answer.
    """
    content = file.read_bytes()
    lines = split_lines(content)
    cut = bool(content) and not content.endswith(b"\n")
    answers = []
    for number, line in enumerate(lines[:-1] if cut else lines, start=1):
        try:
            answers.append(Answer.model_validate_json(line))
        except ValidationError as error:
            raise BadFileError(f"{file.name}:{number}: {error.errors()[0]['msg']}") from None
    return answers, cut


def read_protocol(cell: Path) -> Protocol | None:
    """A cell's protocol.json; None where there is none.

    Raises:
        BadFileError: It is damaged.
    """
    content = read_json(cell / PROTOCOL)
    if content is None:
        return None
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFileError(f"{PROTOCOL}: {first['loc']}: {first['msg']}") from None


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is no such file."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadFileError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise BadFileError(f"{file.name} holds no JSON object")
    return value
