r"""What the fake engine says to a prompt: right or wrong by hash, in the form that graders read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers.fake_engine.settings import FakeSettings

__all__ = ["AnswerBook", "AnswersError", "Known", "Reply", "reply"]

_LETTERS = "ABCD"
_RAMBLE = "Let me think about it once more."
_NO_ANSWER = "I cannot tell."
_UNKNOWN = "This question is in none of my answers files."


class AnswersError(ValueError):
    """An answers file that cannot be read; says which and where."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A question with its answer; `choice` is the text whose letter the prompt tells (GPQA)."""

    question: str
    answer: str | None
    choice: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A text, and whether it goes on until the token limit."""

    text: str
    endless: bool = False


class AnswerBook:
    """The questions of the answers files, found by their text in a prompt."""

    def __init__(self, known: list[Known]) -> None:
        self._known = known

    @classmethod
    def read(cls, files: tuple[str, ...]) -> AnswerBook:
        """Read JSON lines of sgl-eval's, GSM8K's or GPQA's columns.

        Raises:
            AnswersError: a file is missing, or a line is not such a row.
        """
        known: list[Known] = []
        for name in files:
            try:
                lines = Path(name).read_bytes().split(b"\n")  # JSON Lines end nowhere else
            except OSError as error:
                raise AnswersError(f"{name}: {error.strerror}; see answers_file") from None
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    known.append(_row(line, f"{name}:{number}"))
        return cls(known)

    def find(self, prompt: str) -> Known | None:
        """The question that a prompt asks: the one that ends last, for worked examples precede it.

        For a choice, the letter is looked up behind it.
        """
        flat = _flat(prompt)
        found = [
            (at + len(known.question), len(known.question), known)
            for known in self._known
            if (at := flat.rfind(known.question)) >= 0
        ]
        if not found:
            return None
        end, _, known = max(found, key=lambda each: each[:2])
        if known.choice is None:
            return known
        return Known(question=known.question, answer=_letter(flat[end:], known.choice))


def reply(settings: FakeSettings, known: Known | None) -> Reply:
    """What is said to a question; the same for the same settings and question, always."""
    if known is None or known.answer is None:
        return Reply(text=_UNKNOWN)
    question = known.question
    if _draw("truncate", settings.seed, question) < settings.truncate_rate:
        return Reply(text=_RAMBLE, endless=True)
    if _draw("no answer", settings.seed, question) < settings.no_answer_rate:
        return Reply(text=_NO_ANSWER)
    right = _draw("right", settings.seed, question) < settings.accuracy
    right ^= _draw("flip", settings.arm_seed, question) < settings.flip_rate
    answer = known.answer if right else _wrong(known.answer, question)
    letter = settings.answer_style == "letter" or (
        settings.answer_style == "auto" and re.fullmatch(r"[A-Z]", known.answer) is not None
    )
    return Reply(text=f"Answer: {answer}" if letter else f"The answer is \\boxed{{{answer}}}.")


def _draw(what: str, seed: int, question: str) -> float:
    digest = hashlib.sha256(f"{what}\0{seed}\0{question}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _wrong(answer: str, question: str) -> str:
    pick = _draw("wrong", 0, question)
    if re.fullmatch(r"[A-Z]", answer):
        others = [letter for letter in _LETTERS if letter != answer]
        return others[int(pick * len(others))]
    try:
        return str(int(answer.replace(",", "")) + 1 + int(pick * 9))
    except ValueError:
        return "0" if answer.strip() != "0" else "1"


def _letter(options: str, choice: str) -> str | None:
    """The letter of `A) text B) text ...` before `choice`."""
    escaped = re.escape(choice)
    found = re.search(rf"(?<!\S)([A-Z])\) {escaped}(?= [A-Z]\) |$)", options)
    found = found or re.search(rf"(?<!\S)([A-Z])\) {escaped}(?!\S)", options)
    return None if found is None else found[1]


def _row(line: bytes, where: str) -> Known:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise AnswersError(f"{where}: not JSON: {error}") from None
    if isinstance(row, dict):
        for needed, known in _SHAPES:
            if all(isinstance(row.get(column), str | int | float) for column in needed):
                return known(row)
    columns = " or ".join(" + ".join(needed) for needed, _ in _SHAPES)
    raise AnswersError(f"{where}: no question with its answer; needs the columns {columns}")


def _plain(row: Mapping[str, Any]) -> Known:
    return Known(question=_flat(str(row["problem"])), answer=str(row["expected_answer"]).strip())


def _gsm8k(row: Mapping[str, Any]) -> Known:
    answer = str(row["answer"]).rpartition("####")[2].strip().replace(",", "")
    return Known(question=_flat(str(row["question"])), answer=answer)


def _gpqa(row: Mapping[str, Any]) -> Known:
    choice = str(row["Correct Answer"]).replace(" [title]", ". ")  # as sgl-eval prepares it
    return Known(question=_flat(str(row["Question"])), answer=None, choice=_flat(choice))


_SHAPES = (
    (("problem", "expected_answer"), _plain),
    (("question", "answer"), _gsm8k),
    (("Question", "Correct Answer"), _gpqa),
)


def _flat(text: str) -> str:
    return " ".join(text.split())
