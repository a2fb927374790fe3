"""Answers to one benchmark that an evaluator kept, whoever wrote them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from evals.job import Answer

__all__ = ["AnswerSet", "QuestionText", "occurrences", "question_text", "without_shared_lines"]

_CHOICE = re.compile(r"^\s*\(?([A-Z])[).:]\s*(\S.*)$")


@dataclass(frozen=True, kw_only=True)
class AnswerSet:
    """All answers of one run of an evaluator to one benchmark.

    Attributes:
        tool: Who asked and marked.
        benchmark: The evaluator's name for what was asked; "" where its files do not tell.
        answers: With the evaluator's own marks; ids are its own or follow from the questions.
        settings: All that it says of asking and sampling.
        prompts: A digest of what the model saw, by question id; empty where it is not kept.
        marked: Whether the answers have marks of the evaluator's own.
        texts: Whether the answers' texts were kept.
        marking: How the evaluator marked, where one file holds several markings of one answer.
        first_marking: False where another set holds the same answers, marked otherwise.
        notes: What a reader must know of how it was read.
    """

    tool: str
    benchmark: str
    answers: Sequence[Answer]
    settings: Mapping[str, Any]
    prompts: Mapping[str, str] = field(default_factory=dict)
    marked: bool = True
    texts: bool = True
    marking: str = ""
    first_marking: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QuestionText:
    """A question's own text, apart from layout and from the order of its choices.

    Attributes:
        stem: The question without its choices, as it is compared.
        choices: The choices in their order, as they are compared.
    """

    stem: str
    choices: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """Equal for the same question, whatever the order of its choices."""
        text = "\0".join([self.stem, *sorted(self.choices)])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def question_text(text: str) -> QuestionText:
    """Take lettered choices apart, and even out case, spaces and Unicode forms.

    Choices are the last lines that begin with A, B, ... in order, as ``A) x``, ``(A) x``, ``A. x``.
    """
    lines = text.strip().split("\n")
    at = len(lines)
    letters: list[str] = []
    while at and (found := _CHOICE.match(lines[at - 1])):
        letters.insert(0, found.group(1))
        at -= 1
    count = len(letters)
    if count < 2 or letters != [chr(ord("A") + number) for number in range(count)]:
        return QuestionText(stem=_even(text), choices=())
    choices = [_CHOICE.sub(r"\2", line) for line in lines[at:]]
    return QuestionText(
        stem=_even("\n".join(lines[:at])), choices=tuple(_even(choice) for choice in choices)
    )


def without_shared_lines(prompts: Sequence[str]) -> list[str]:
    """Prompts without the first and last lines that all of them share: template and examples.

    A single prompt is kept whole: nothing tells its template from its question.
    """
    split = [prompt.strip().split("\n") for prompt in prompts]
    if len({tuple(lines) for lines in split}) < 2:
        return list(prompts)
    first = _shared(split)
    last = _shared([lines[first:][::-1] for lines in split])
    return ["\n".join(lines[first : len(lines) - last]).strip() for lines in split]


def occurrences(keys: Iterable[str]) -> list[str]:
    """The keys in their order, each later occurrence of one numbered: ``a``, ``b``, ``a#2``."""
    seen: dict[str, int] = {}
    result: list[str] = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        result.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
    return result


def _shared(split: Sequence[Sequence[str]]) -> int:
    """How many lines all begin with, and leave each at least one."""
    least = min(len(lines) for lines in split) - 1
    for number in range(least):
        if len({lines[number] for lines in split}) > 1:
            return number
    return max(0, least)


def _even(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
