"""The files of an accuracy cell: their names, and what a finished set of them says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evals import marks
from evals.job import Answer, Outcome

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
    "read_cell",
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
    move a score except the server (see :func:`evals.accuracy_protocol.protocol_digest`).
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
    lines = file.read_bytes().split(b"\n")
    cut = bool(lines[-1])  # a file that was written to its end ends in a newline
    answers = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            answers.append(Answer.model_validate_json(line))
        except ValidationError as error:
            raise BadFileError(f"{file.name}:{number}: {error.errors()[0]['msg']}") from None
    return answers, cut


def read_cell(cell: Path, returncode: int, *, max_error_rate: float) -> Outcome:
    """What the files of `cell` say about a client that ended with `returncode`."""
    try:
        protocol = _read_protocol(cell)
        answers = read_answers(cell / ANSWERS)[0] if (cell / ANSWERS).is_file() else []
    except BadFileError as error:
        return Outcome(status="failed", failure_class="bad-output", reason=str(error))
    if protocol is None or not answers:
        return _without_answers(cell, returncode, protocol)
    missing, surplus = _compare_with_plan(protocol, answers)
    if surplus:
        return Outcome(
            status="failed",
            failure_class="bad-output",
            reason=f"{ANSWERS} holds samples that were not planned or are there twice: {surplus}",
        )
    return _judge(cell, protocol, answers, returncode, missing, max_error_rate)


def _judge(
    cell: Path,
    protocol: Protocol,
    answers: list[Answer],
    returncode: int,
    missing: int,
    max_error_rate: float,
) -> Outcome:
    """An outcome from answers that are all planned ones."""
    found = marks.counts(answers)
    rate = found["errors"] / len(answers)
    failure_class, reason = "", ""
    if missing or returncode != 0:
        failure_class, reason = _why_stopped(cell, returncode, missing)
    elif rate > max_error_rate or found["errors"] == len(answers):
        failure_class = "errors"
        reason = (
            f"{found['errors']} of {len(answers)} requests failed; at most a share of "
            f"{max_error_rate:g} may (max_error_rate), see job.log for why"
        )
    usable = found["errors"] < len(answers)
    return Outcome(
        status="invalid" if failure_class else "ok",
        failure_class=failure_class,
        reason=reason,
        metrics=marks.metrics(answers) if usable else {},
        counts={
            "examples": protocol.examples,
            "repeats": protocol.repeats,
            "samples": len(answers),
            "missing": missing,
            **found,
        },
        details=_details(cell, protocol, answers),
        artifacts={
            name.split(".")[0]: name
            for name in (ANSWERS, PROTOCOL, PROMPT, SUMMARY)
            if (cell / name).is_file()
        },
    )


def _without_answers(cell: Path, returncode: int, protocol: Protocol | None) -> Outcome:
    """A client that left no answer at all."""
    if (stated := _stated_failure(cell)) is not None:
        failure_class, reason = stated
    elif returncode != 0:
        failure_class, reason = "client-exit", f"the client ended with code {returncode}"
    else:
        name = PROTOCOL if protocol is None else ANSWERS
        failure_class, reason = "no-output", f"the client ended well but left no {name}"
    return Outcome(
        status="failed",
        failure_class=failure_class,
        reason=reason,
        details={} if protocol is None else _details(cell, protocol, []),
    )


def _why_stopped(cell: Path, returncode: int, missing: int) -> tuple[str, str]:
    """Class and reason of a run that has answers but did not end well."""
    lack = f"{missing} planned samples have no answer"
    if (stated := _stated_failure(cell)) is not None:
        return stated[0], f"{stated[1]}; {lack}"
    if missing:
        return "incomplete", f"{lack}; the client ended with code {returncode}"
    return "client-exit", f"all answers are there, but the client ended with code {returncode}"


def _stated_failure(cell: Path) -> tuple[str, str] | None:
    try:
        stated = _read_json(cell / FAILURE)
    except BadFileError:
        return None
    if stated is None:
        return None
    return str(stated.get("class", "client-exit")), str(stated.get("reason", "no reason given"))


def _compare_with_plan(protocol: Protocol, answers: list[Answer]) -> tuple[int, str]:
    """How many planned samples are missing, and a few that should not be there."""
    planned = {(key, repeat) for key in protocol.ids for repeat in range(protocol.repeats)}
    found = Counter((answer.id, answer.repeat) for answer in answers)
    surplus = [key for key, count in found.items() if count > 1 or key not in planned]
    shown = ", ".join(f"{key} repeat {repeat}" for key, repeat in surplus[:5])
    return len(planned - found.keys()), shown


def _details(cell: Path, protocol: Protocol, answers: list[Answer]) -> dict[str, Any]:
    details = protocol.model_dump(exclude={"ids", "schema_version"})
    details["in_flight"] = marks.in_flight(answers)
    tokens = [a.completion_tokens for a in answers if a.completion_tokens is not None]
    details["mean_completion_tokens"] = sum(tokens) / len(tokens) if tokens else None
    try:
        summary = _read_json(cell / SUMMARY)
    except BadFileError:
        summary = None
    details["sgl_eval_aggregate"] = None if summary is None else summary.get("aggregate")
    return details


def _read_protocol(cell: Path) -> Protocol | None:
    content = _read_json(cell / PROTOCOL)
    if content is None:
        return None
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFileError(f"{PROTOCOL}: {first['loc']}: {first['msg']}") from None


def _read_json(file: Path) -> dict[str, Any] | None:
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
