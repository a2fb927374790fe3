r"""Marks the text of an answer: one marker for every arm, and for answers that others collected.

What sgl-eval's graders mark right stays as it is; :data:`CORRECTIONS` names where they are put
right. Marking is bounded in time and calls no clock: the same text has the same mark everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from math import prod
from typing import Literal

from evals.accuracy.grades import mark
from evals.accuracy.marking.letters import choose, labels_of, letter_of
from evals.accuracy.marking.numbers import is_expression, number_values, same_number
from evals.accuracy.marking.text import boxes, innermost, is_blank, parts, without_run_on
from evals.job import Answer, Mark

__all__ = [
    "CORRECTIONS",
    "KINDS",
    "MARKER",
    "Kind",
    "Marked",
    "mark_answer",
    "marked_anew",
    "marker",
]

MARKER = "servegate marker"
"""What the name of every version of this marker begins with."""

_VERSION = 2
"""1 was sgl-eval's own marking. To be counted up with every change that can move a mark."""

CORRECTIONS = (
    "a letter counts only where it stands for itself, is stated last, and is one of the choices",
    "a number is read with its units, currency, separators and digits of any script",
    "an empty box is no answer; the last box that holds something is read",
    "an answer ends where the model asks a next question of its own",
    "what stands behind the end of a thought is read first",
    "where a text that came to its end has no box, #### 5 and 'the answer is 5' are read",
)
"""What is read otherwise than by sgl-eval's graders, one sentence each."""

_MOST_CHARACTERS = 1_000_000  # of a response; its end is kept
_MOST_EXPRESSION = 300  # characters of an expression that sympy is given
_MOST_POWER = 10_000  # product of the numbers behind a power sign
_MOST_STATEMENTS = 200  # of one text, its last ones; a model in a loop makes thousands
_SHOWN = 200  # characters of an extracted answer that are kept

_GROWS = re.compile(r"\^|\\binom|\\choose")
_HASHES = re.compile(r"####[ \t]*(?=(.{0,200}))")
_SAID = re.compile(r"\banswer[ \t*_]*(?:is|:|=)[ \t*_:]*(?=(.{0,200}))", re.IGNORECASE)
_DIGEST = re.compile(r"\(sha256 [0-9a-f]+\)")
_LETTER = re.compile(r"^\(?([A-Z])[).]?$")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|,(?=\s(?!or\b|and\b)[a-z])")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the questions of a benchmark are answered.

    Attributes:
        name: ``"math"`` (a number or an expression) or ``"choice"`` (a letter).
        letters: Of the choices, where the question does not list them; "" for math.
    """

    name: Literal["math", "choice"]
    letters: str = ""


_MATH = Kind(name="math")
_FOUR, _TEN = Kind(name="choice", letters="ABCD"), Kind(name="choice", letters="ABCDEFGHIJ")

KINDS = {
    "aime24": _MATH,
    "aime25": _MATH,
    "aime26": _MATH,
    "gpqa": _FOUR,
    "gsm8k": _MATH,
    "mmlu": _FOUR,
    "mmlu_pro": _TEN,
    "mmmu_pro": _TEN,
    "mmmu_pro_vision": _TEN,
}
"""By benchmark, as sgl-eval 0.1.3 has them (a test compares)."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """What a response counts as.

    Attributes:
        mark: The outcome.
        extracted: The answer that was read in it; None where there is none.
        note: What a reader should know of how it was read; None where it is as usual.
    """

    mark: Mark
    extracted: str | None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """An answer that was read, and whether it is the expected one."""

    extracted: str
    correct: bool
    note: str | None = None


def mark_answer(
    kind: Kind, response: str, expected: str, *, finish_reason: str | None, question: str = ""
) -> Marked:
    """Mark one response.

    Only in the main thread can an expression (not a number, not a letter) be compared: sympy is
    stopped by a signal there.

    Args:
        kind: How the question is answered: ``KINDS[benchmark]``.
        response: The text that was generated, whole.
        expected: The right answer.
        finish_reason: Why generation ended; all but ``stop`` and ``length`` are errors.
        question: The question as it was asked, for the letters of its choices.
    """
    text, notes = response, []
    if len(text) > _MOST_CHARACTERS:
        text = text[-_MOST_CHARACTERS:]
        notes.append(f"only the last {_MOST_CHARACTERS:,} of {len(response):,} characters are read")
    labels = labels_of(question, kind.letters) if kind.name == "choice" else ""
    reading, run_on = _reading(labels, text, expected, ended=finish_reason == "stop")
    if run_on:
        notes.append("read up to the model's own next question")
    if reading is not None and reading.note:
        notes.append(reading.note)
    return Marked(
        mark=mark(
            correct=reading is not None and reading.correct,
            extracted=None if reading is None else reading.extracted,
            finish_reason=finish_reason,
        ),
        extracted=None if reading is None else reading.extracted[:_SHOWN],
        note="; ".join(notes) or None,
    )


def marked_anew(answers: Iterable[Answer], benchmark: str = "") -> list[Answer]:
    """Answers that another marker marked, marked by this one.

    Requests that failed stay errors. An answer without a finish reason counts as ended by itself,
    since few evaluators keep one.

    Args:
        answers: The answers.
        benchmark: A key of :data:`KINDS`; "": a letter is read where a letter is expected, a
            number or an expression else.

    Raises:
        KeyError: There is no such benchmark.
        ValueError: An answer's text was not kept: a kept record may have a digest in its place.
    """
    known = KINDS[benchmark] if benchmark else None
    return [answer if answer.mark == "error" else _marked_anew(answer, known) for answer in answers]


def _marked_anew(answer: Answer, known: Kind | None) -> Answer:
    text = answer.response.strip()
    if _DIGEST.fullmatch(text) or (answer.extracted and not text):
        raise ValueError(f"the text of {answer.id}, repeat {answer.repeat}, was not kept")
    expected = answer.expected.strip()
    letter = _LETTER.match(expected)
    found = mark_answer(
        known or (_TEN if letter else _MATH),
        answer.response,
        letter.group(1) if letter and known is None else expected,
        finish_reason=answer.finish_reason or "stop",
        question=answer.question,
    )
    return answer.model_copy(
        update={"mark": found.mark, "extracted": found.extracted, "note": found.note}
    )


@cache
def marker() -> str:
    """This marker's name: equal where the same text has the same mark."""
    import sgl_eval
    import yaml

    sources = yaml.safe_load((sgl_eval.VENDORED_NS_ROOT / "SOURCES.yaml").read_text("utf-8"))
    theirs = f"{sources['upstream_repo']}@{sources['synced_from_sha']}"
    parts = [f"{name} {version(name)}" for name in ("math-verify", "latex2sympy2_extended")]
    return ", ".join([f"{MARKER} {_VERSION} over {theirs}", *parts])


def _reading(labels: str, text: str, expected: str, *, ended: bool) -> tuple[_Reading | None, bool]:
    """What is read of a response, and whether it is cut before a next question."""
    for part, in_earnest in parts(text):
        for candidate in without_run_on(part):
            run_on = len(candidate) < len(part)  # the model was done with this answer
            read = _choice if labels else _number
            reading = read(labels, candidate, expected, ended=(ended or run_on) and in_earnest)
            if reading is not None:
                return reading, run_on
    return None, False


def _choice(labels: str, text: str, expected: str, *, ended: bool) -> _Reading | None:
    found = choose(text, labels, ended=ended)
    if found is None:
        return None
    wanted = letter_of(expected, labels, strict=False)
    return _Reading(
        extracted=found.letter,
        correct=found.note is None and wanted is not None and found.letter == wanted.letter,
        note=found.note and f"{found.letter} {found.note}",
    )


def _number(_labels: str, text: str, expected: str, *, ended: bool) -> _Reading | None:
    there = list(innermost(boxes(text)))
    if not there:
        return _stated_number(text, expected) if ended else None
    if there[-1].content is None:
        return None  # cut off in its last box
    filled = [box.content for box in there if box.content is not None and not is_blank(box.content)]
    return _compare(filled[-1].strip(), expected) if filled else None


def _stated_number(text: str, expected: str) -> _Reading | None:
    """A number that is stated without a box, the last first; an expression needs one."""
    for pattern in (_HASHES, _SAID):
        for found in reversed(list(pattern.finditer(text))[-_MOST_STATEMENTS:]):
            line = found[1].strip()
            end = _SENTENCE_END.search(line)
            for said in (line, line[: end.start()] if end else line):
                if number_values(said):
                    return _compare(said, expected)
    return None


def _compare(answer: str, expected: str) -> _Reading:
    if answer == expected.strip():
        return _Reading(extracted=answer, correct=True)
    same = same_number(answer, expected)
    if same is not None:
        return _Reading(extracted=answer, correct=same)
    if number_values(expected) and not is_expression(answer):
        return _Reading(extracted=answer, correct=False)
    if problem := _too_large(answer):
        return _Reading(extracted=answer, correct=False, note=problem)
    from sgl_eval._vendored.nemo_skills.math_grader import math_equal

    return _Reading(extracted=answer, correct=bool(math_equal(expected, answer)))


def _too_large(expression: str) -> str | None:
    """Why sympy must not be given an expression; None if it may.

    A power or a factorial of large numbers is one operation of long integers, which no signal
    interrupts.
    """
    if len(expression) > _MOST_EXPRESSION:
        return f"{len(expression):,} characters are too many for an answer"
    flat = expression.replace("**", "^").translate(str.maketrans("()", "{}"))
    behind = _GROWS.split(flat, maxsplit=1)[1:]
    numbers = [int(number) for part in behind for number in re.findall(r"\d+", part)]
    factorial = re.search(r"(\d*)\s*!", flat)
    few = factorial is None or (
        not behind and flat.count("!") == 1 and 0 < len(factorial[1]) < 3  # 99! at most
    )
    if prod(max(1, number) for number in numbers) > _MOST_POWER or not few or _has_tower(flat):
        return "its powers are too large to be worked out"
    return None


def _has_tower(expression: str) -> bool:
    """Whether an exponent of a number has a power in it; groups are in braces."""
    made = 1
    while made:
        expression, made = re.subn(r"\{[^{}^]*\}", "1", expression)
    return re.search(r"[\d}]\s*\^\s*(?:\{|[-+]?\\?\w+\s*\^)", expression) is not None
