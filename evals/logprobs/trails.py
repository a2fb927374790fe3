"""What the logprobs job reads and leaves: texts, and one trail of numbers for each asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evals.client import kept_failure
from evals.files import DataError, digest, read_lines, split_lines
from evals.job import JobSettings, Outcome


class LogprobsSettings(JobSettings):
    """How log-probabilities are asked for; equal in all arms."""

    kind: Literal["logprobs"] = Field(
        description="Log-probabilities after fixed texts, step by step in decode."
    )
    data: str | None = Field(
        default=None,
        description="A .jsonl file with id and text on each line; null: the forty short texts that "
        "servegate brings.",
    )
    steps: int = Field(
        default=8,
        ge=2,
        description="Tokens to decode greedily after each text; the first comes from prefill.",
    )
    top: int = Field(default=5, ge=1, le=20, description="Likeliest tokens kept of each step.")
    repeats: int = Field(
        default=2,
        ge=1,
        description="How often each text is asked on one launch; from 2 on they show what batching "
        "changes by itself.",
    )
    concurrency: int = Field(default=16, ge=1, description="Requests kept in flight.")
    request_timeout_s: float = Field(default=600.0, gt=0, description="Longest wait for one text.")


TRAILS = "logprobs.jsonl"


class Text(BaseModel):
    """One fixed text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    text: str


class Trail(BaseModel):
    """One asking of one text: what the server gave at every position; natural logarithms.

    Attributes:
        id: The text's.
        repeat: From 0.
        prefill: Log-probability of each token of the text but the first, given those before it.
        tokens: The tokens that were decoded.
        logprobs: Theirs, each given the text and all tokens before it.
        top: Of each step, the likeliest tokens with theirs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str
    repeat: int
    prefill: list[float]
    tokens: list[int]
    logprobs: list[float]
    top: list[list[tuple[int, float]]]


def load_texts(path: str | None) -> list[Text]:
    """The texts of a file, or those that servegate brings.

    Raises:
        DataError: The file cannot be read, a line is no text, or an id stands twice.
    """
    source = (
        Path(path) if path is not None else files("evals.logprobs").joinpath("texts/passages.jsonl")
    )
    try:
        lines = split_lines(source.read_bytes())
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error
    texts: list[Text] = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(Text.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{source}:{number}: must be one object with id and text") from error
    if not texts or len({text.id for text in texts}) != len(texts):
        raise DataError(f"{source}: must hold at least one text, and each id once")
    return texts


def read_trails(path: Path) -> list[Trail]:
    """All trails of one cell.

    Raises:
        DataError: The file is missing or a line of it damaged.
    """
    return read_lines(path, Trail, "trail")


def differences(one: Trail, other: Trail) -> list[float]:
    """|difference| in nats at each decode step that both reached over the same tokens.

    The first token comes from prefill and is left out, and so is every step after the first at
    which the tokens differ: both sides must have been given the same. Compared is the token that
    `one` took; where `other` does not list it among its likeliest, it was less likely than all of
    those, and the least of them stands for it: the difference is then at least that large.
    """
    found: list[float] = []
    for step in range(min(len(one.tokens), len(other.tokens))):
        if step and one.tokens[step - 1] != other.tokens[step - 1]:
            break
        if step == 0:
            continue
        theirs = dict(other.top[step]) | {other.tokens[step]: other.logprobs[step]}
        taken = theirs.get(one.tokens[step], min(theirs.values()))
        found.append(abs(one.logprobs[step] - taken))
    return found


def read_cell(
    cell: Path, returncode: int, *, texts: Sequence[Text], repeats: int, settings: Mapping[str, Any]
) -> Outcome:
    """Ok only when every text was asked as often as planned and answered in full."""
    try:
        trails = read_trails(cell / TRAILS)
    except DataError as error:
        return _failed(cell, returncode, str(error))
    wanted = {(text.id, repeat) for text in texts for repeat in range(repeats)}
    asked = [(trail.id, trail.repeat) for trail in trails]
    if returncode != 0 or set(asked) != wanted or len(asked) != len(wanted):
        return _failed(cell, returncode, f"{len(set(asked) & wanted)} of {len(wanted)} were asked")
    by_key = {(trail.id, trail.repeat): trail for trail in trails}
    noise = [
        value
        for text in texts
        for repeat in range(1, repeats)
        for value in differences(by_key[text.id, 0], by_key[text.id, repeat])
    ]
    positions = sum(len(trail.tokens) - 1 for trail in trails)
    if positions == 0:
        return _failed(cell, returncode, "no step was decoded after the first token")
    asks = {k: settings[k] for k in ("steps", "top", "repeats")}
    return Outcome(
        status="ok",
        metrics={"logprob_noise": fmean(noise)} if noise else {},
        counts={"texts": len(texts), "asked": len(trails), "positions": positions},
        details={
            "ids_digest": digest([[text.id, text.text] for text in texts]),
            "protocol_digest": digest([[k, v] for k, v in asks.items()]),
            "largest_noise": max(noise, default=None),
        },
        artifacts={"logprobs": TRAILS},
    )


def _failed(cell: Path, returncode: int, what: str) -> Outcome:
    told = kept_failure(cell)
    if told is None:
        reason = f"{what}; the client ended with exit code {returncode}"
        return Outcome(status="failed", failure_class="incomplete", reason=reason)
    failure_class, reason = told
    # Requests that failed are the server's doing: it ran, and the cell must not count.
    status: Literal["failed", "invalid"] = "invalid" if failure_class == "errors" else "failed"
    return Outcome(status=status, failure_class=failure_class, reason=reason)
