"""A question is what the model sees and what the grader expects, from one row of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.files import DataError, digest

__all__ = [
    "COLUMNS",
    "Question",
    "Shot",
    "duplicate_ids",
    "missing_columns",
    "to_question",
    "to_shot",
]

# The columns of the real sets; what neither of them has is read in sgl-eval's own shape.
GSM8K = ("question", "answer")
GPQA = (
    "Question",
    "Correct Answer",
    "Incorrect Answer 1",
    "Incorrect Answer 2",
    "Incorrect Answer 3",
)
PLAIN = ("problem", "expected_answer")
COLUMNS: dict[str, tuple[str, ...]] = {"gsm8k": GSM8K, "gpqa": GPQA}

_ID_COLUMNS = ("id", "Record ID")
_LEVEL_COLUMNS = ("difficulty", "level", "steps", "Writer's Difficulty Estimate")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question as it is asked.

    Attributes:
        id: Unique in its set, the same in every run: the key by which arms are paired.
        problem: The text that goes into the prompt, with the lettered choices if it has some.
        expected: What the grader compares the extracted answer with.
        level: How hard the set says it is, or None.
    """

    id: str
    problem: str
    expected: str
    level: str | None


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One worked example of a few-shot prompt."""

    problem: str
    solution: str


def missing_columns(benchmark: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that `row` lacks to be a question of `benchmark`; empty when it is one."""
    wanted = COLUMNS.get(benchmark, PLAIN)
    if all(column in row for column in PLAIN):
        return ()
    return tuple(column for column in wanted if column not in row)


def to_question(
    benchmark: str, row: Mapping[str, Any], index: int, *, choice_seed: int
) -> Question:
    """Turn a row that has its columns into a question.

    Args:
        benchmark: Name of the benchmark; gives the columns and the id of rows without one.
        row: The row, with the columns that :data:`COLUMNS` names or sgl-eval's own.
        index: The row's place in its set, from 0: rows without an id are ``gsm8k-<index>``, as
            in sgl-eval.
        choice_seed: Decides the order of multiple-choice answers, question by question.

    Raises:
        DataError: The row's values cannot be a question. The message says why.
    """
    name = _first(row, _ID_COLUMNS)
    key = f"{benchmark}-{index}" if name is None else name
    if all(column in row for column in PLAIN):
        problem, expected = _text(row, "problem"), str(row["expected_answer"]).strip()
        level = _first(row, _LEVEL_COLUMNS)
    elif benchmark == "gpqa":
        problem, expected = _with_choices(row, key, choice_seed)
        level = _writers_estimate(row)
    else:
        problem, (solution, expected) = _text(row, "question"), _gsm8k_answer(row)
        level = _first(row, _LEVEL_COLUMNS) or _steps(solution)
    if not problem.strip() or not expected:
        raise DataError("the question or its answer is empty")
    return Question(id=key, problem=problem, expected=expected, level=level)


def to_shot(benchmark: str, row: Mapping[str, Any], index: int, *, choice_seed: int) -> Shot:
    r"""Turn a row into a worked example that ends in the form that the grader reads.

    sgl-eval marks math by the last ``\boxed{}`` and choices by ``Answer: X``; GSM8K's own
    solutions end in ``#### 5`` and carry ``<<2+3=5>>`` notes, which both are rewritten.

    Raises:
        DataError: As for :func:`to_question`.
    """
    question = to_question(benchmark, row, index, choice_seed=choice_seed)
    if benchmark == "gpqa":
        return Shot(problem=question.problem, solution=f"Answer: {question.expected}")
    if "answer" in row and "question" in row:
        steps = _without_notes(_gsm8k_answer(row)[0]).strip()
    else:
        steps = str(row.get("solution", row.get("reference_solution", ""))).strip()
    ending = f"The answer is \\boxed{{{question.expected}}}."
    return Shot(problem=question.problem, solution=f"{steps}\n{ending}" if steps else ending)


def duplicate_ids(questions: Sequence[Question]) -> list[str]:
    """The ids that occur more than once, in order of appearance."""
    return [key for key, count in Counter(q.id for q in questions).items() if count > 1]


def _first(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    for column in columns:
        value = row.get(column)
        if value is not None and str(value).strip():
            return str(value).strip()
    return None


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"column {column!r} is {type(value).__name__}, not text")
    return value


def _gsm8k_answer(row: Mapping[str, Any]) -> tuple[str, str]:
    """Solution and number of a GSM8K answer; integral numbers lose their point as in sgl-eval."""
    solution, mark, number = _text(row, "answer").rpartition("####")
    if not mark:
        raise DataError("column 'answer' has no '#### <number>' at its end")
    try:
        value = float(number.replace(",", ""))
    except ValueError:
        raise DataError(f"column 'answer' ends in {number.strip()!r}, not a number") from None
    if not abs(value) < float("inf"):
        raise DataError(f"column 'answer' ends in {number.strip()!r}, not a finite number")
    return solution, str(int(value) if value == int(value) else value)


def _without_notes(solution: str) -> str:
    """GSM8K's ``<<2+3=5>>`` calculator notes taken out."""
    parts = solution.split("<<")
    return parts[0] + "".join(part.partition(">>")[2] for part in parts[1:])


def _steps(solution: str) -> str | None:
    """The number of calculator notes: how GSM8K counts the steps of a solution."""
    return str(solution.count("<<")) if "<<" in solution else None


def _writers_estimate(row: Mapping[str, Any]) -> str | None:
    """GPQA's difficulty without the explanation in brackets behind it, as sgl-eval cuts it."""
    estimate = _first(row, _LEVEL_COLUMNS)
    return None if estimate is None else estimate.split("(")[0].strip()


def _with_choices(row: Mapping[str, Any], key: str, seed: int) -> tuple[str, str]:
    """Question with lettered choices, laid out as sgl-eval's get_mcq_fields, and the letter.

    The order follows from the seed and the question's id alone, so it does not depend on which
    other questions are asked or in what order, and is the same in every arm.
    """
    texts = [_choice(row, column) for column in GPQA[1:]]
    if len(set(texts)) < len(texts):
        raise DataError("two of the four choices are the same text")
    order = sorted(range(len(texts)), key=lambda i: digest([seed, key, i]))
    letters = "ABCD"
    options = "\n".join(f"{letters[at]}) {texts[i]}" for at, i in enumerate(order))
    question = _text(row, "Question").strip("\n")
    return f"{question}\n\n{options}", letters[order.index(0)]


def _choice(row: Mapping[str, Any], column: str) -> str:
    """The cleaning of sgl-eval's GPQA preparation (``preprocess``)."""
    text = _text(row, column).strip().replace(" [title]", ". ").replace("  ", " ")
    if not text:
        raise DataError(f"column {column!r} is empty")
    return text
