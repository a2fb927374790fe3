"""What a finished set of an accuracy cell's files says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.accuracy import grades
from evals.accuracy.early_stop import STOP, Stop, counted, read_stop
from evals.accuracy.files import (
    ANSWERS,
    FAILURE,
    PROMPT,
    PROTOCOL,
    SUMMARY,
    BadFileError,
    Protocol,
    read_answers,
    read_json,
    read_protocol,
)
from evals.accuracy.resume import carried
from evals.files import DataError, read_lines
from evals.job import Answer, Outcome

__all__ = ["counted_answers", "read_cell"]


def counted_answers(cell: Path) -> list[Answer]:
    """The answers of a cell that count, in file order.

    Raises:
        DataError: A file is missing or damaged.
    """
    stop = read_stop(cell)
    answers = read_lines(cell / ANSWERS, Answer, "answer")
    if stop is None:
        return answers
    try:
        protocol = read_protocol(cell)
    except BadFileError as error:
        raise DataError(f"{cell}: {error}") from error
    if protocol is None:
        raise DataError(f"{cell / PROTOCOL}: is missing, so nobody knows what was asked first")
    return counted(answers, protocol.ids, stop)


def read_cell(cell: Path, returncode: int, *, max_error_rate: float) -> Outcome:
    """What the files of `cell` say about a client that ended with `returncode`."""
    try:
        protocol = read_protocol(cell)
        answers = read_answers(cell / ANSWERS)[0] if (cell / ANSWERS).is_file() else []
        stop = read_stop(cell)
    except (BadFileError, DataError) as error:
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
    every = answers
    if stop is not None:
        protocol = protocol.model_copy(update={"ids": protocol.ids[: stop.questions]})
        answers = counted(answers, protocol.ids, stop)
        missing = _compare_with_plan(protocol, answers)[0]
    outcome = _judge(cell, protocol, answers, returncode, missing, max_error_rate)
    return outcome if stop is None else _stopped(cell, outcome, stop, every)


def _stopped(cell: Path, outcome: Outcome, stop: Stop, every: list[Answer]) -> Outcome:
    """The outcome of the counted answers; how full the server was kept, all of them tell."""
    return replace(
        outcome,
        counts={**outcome.counts, "examples": stop.questions},
        details={
            **outcome.details,
            "in_flight": _in_flight(cell, every),
            "stopped": stop.model_dump(),
        },
        artifacts={**outcome.artifacts, "stop": STOP},
    )


def _judge(
    cell: Path,
    protocol: Protocol,
    answers: list[Answer],
    returncode: int,
    missing: int,
    max_error_rate: float,
) -> Outcome:
    """An outcome from answers that are all planned ones."""
    found = grades.counts(answers)
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
        metrics=grades.metrics(answers) if usable else {},
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
        stated = read_json(cell / FAILURE)
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


def _in_flight(cell: Path, answers: list[Answer]) -> float | None:
    """Requests at once of this attempt; what was carried over was asked of another server."""
    kept = {(one.id, one.repeat) for one in carried(cell)}
    return grades.in_flight([a for a in answers if (a.id, a.repeat) not in kept])


def _details(cell: Path, protocol: Protocol, answers: list[Answer]) -> dict[str, Any]:
    details = protocol.model_dump(exclude={"ids", "schema_version"})
    details["carried"] = len(carried(cell))
    details["in_flight"] = _in_flight(cell, answers)
    tokens = [a.completion_tokens for a in answers if a.completion_tokens is not None]
    details["mean_completion_tokens"] = sum(tokens) / len(tokens) if tokens else None
    try:
        summary = read_json(cell / SUMMARY)
    except BadFileError:
        summary = None
    details["sgl_eval_aggregate"] = None if summary is None else summary.get("aggregate")
    return details
