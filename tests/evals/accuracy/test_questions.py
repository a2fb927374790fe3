from __future__ import annotations

from typing import Any

import pytest

from evals.accuracy.questions import missing_columns, to_question, to_shot
from evals.files import DataError

GPQA: dict[str, Any] = {
    "Question": "\nWhich?",
    "Correct Answer": " right  one ",
    "Incorrect Answer 1": "one [title]two",
    "Incorrect Answer 2": "three",
    "Incorrect Answer 3": "four",
    "Record ID": "recA",
    "Writer's Difficulty Estimate": "Hard graduate level (could be difficult)",
}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("a\n#### 72", "72"),
        ("#### 1,234", "1234"),
        ("#### -5", "-5"),
        ("#### 7.0", "7"),
        ("#### 2.50", "2.5"),
    ],
)
def test_a_gsm8k_answer_is_the_number_behind_the_hashes(answer: str, expected: str) -> None:
    question = to_question("gsm8k", {"question": "q", "answer": answer}, 3, choice_seed=0)
    assert question.expected == expected
    assert question.id == "gsm8k-3"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "answer": "72"}, "no '#### <number>'"),
        ({"question": "q", "answer": "#### many"}, "'many', not a number"),
        ({"question": "q", "answer": "#### nan"}, "not a finite number"),
        ({"question": 5, "answer": "#### 1"}, "'question' is int, not text"),
        ({"question": " ", "answer": "#### 1"}, "empty"),
        ({"problem": "p", "expected_answer": ""}, "empty"),
    ],
)
def test_a_row_that_is_no_question_says_why(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_question("gsm8k", row, 0, choice_seed=0)


def test_a_zero_and_a_numeric_id_survive() -> None:
    row = {"id": 0, "problem": "p", "expected_answer": 0, "level": 3}
    question = to_question("gsm8k", row, 9, choice_seed=0)
    assert (question.id, question.expected, question.level) == ("0", "0", "3")


def test_the_level_of_gsm8k_is_its_number_of_steps() -> None:
    row = {"question": "q", "answer": "<<1+1=2>>2 <<2+1=3>>3\n#### 3"}
    assert to_question("gsm8k", row, 0, choice_seed=0).level == "2"
    assert to_question("gsm8k", row | {"steps": 7}, 0, choice_seed=0).level == "7"
    assert to_question("gsm8k", row | {"answer": "#### 3"}, 0, choice_seed=0).level is None


def test_gpqa_is_laid_out_as_sgl_eval_does() -> None:
    from sgl_eval._vendored.nemo_skills.dataset._utils import get_mcq_fields

    question = to_question("gpqa", GPQA, 0, choice_seed=1)
    lines = question.problem.split("\n")
    choices = [line[3:] for line in lines[-4:]]
    assert question.problem == get_mcq_fields(GPQA["Question"], choices)["problem"]
    assert sorted(choices) == ["four", "one. two", "right one", "three"]
    assert lines[2 + "ABCD".index(question.expected)] == f"{question.expected}) right one"
    assert (question.id, question.level) == ("recA", "Hard graduate level")


def test_the_order_of_choices_follows_from_seed_and_id_and_uses_every_place() -> None:
    rows = [GPQA | {"Record ID": f"rec{n}"} for n in range(200)]
    first = [to_question("gpqa", row, n, choice_seed=1) for n, row in enumerate(rows)]
    again = [to_question("gpqa", row, 0, choice_seed=1) for row in reversed(rows)][::-1]
    other = [to_question("gpqa", row, 0, choice_seed=2).expected for row in rows]
    letters = [question.expected for question in first]
    assert first == again
    assert letters != other
    # 50 each are expected; a fair order stays within five standard deviations (6.1 each)
    assert all(20 < letters.count(letter) < 80 for letter in "ABCD")


def test_two_equal_choices_are_refused() -> None:
    with pytest.raises(DataError, match="same text"):
        to_question("gpqa", GPQA | {"Incorrect Answer 2": "four "}, 0, choice_seed=0)


@pytest.mark.parametrize(
    ("benchmark", "row", "missing"),
    [
        ("gsm8k", {"question": 1, "answer": 2}, ()),
        ("gsm8k", {"problem": 1, "expected_answer": 2}, ()),
        ("gsm8k", {"question": 1}, ("answer",)),
        ("gpqa", {"Question": 1, "Correct Answer": 1}, tuple(GPQA)[2:5]),
        ("aime25", {"question": 1, "answer": 2}, ("problem", "expected_answer")),
    ],
)
def test_missing_columns(benchmark: str, row: dict[str, Any], missing: tuple[str, ...]) -> None:
    assert missing_columns(benchmark, row) == missing


@pytest.mark.parametrize(
    ("benchmark", "row", "solution"),
    [
        (
            "gsm8k",
            {"question": "q", "answer": "It is 1+1=<<1+1=2>>2.\n#### 2"},
            "It is 1+1=2.\nThe answer is \\boxed{2}.",
        ),
        ("gsm8k", {"problem": "q", "expected_answer": 4}, "The answer is \\boxed{4}."),
        (
            "aime25",
            {"problem": "q", "expected_answer": 4, "solution": "Two twos."},
            "Two twos.\nThe answer is \\boxed{4}.",
        ),
    ],
)
def test_a_worked_example_ends_in_what_the_grader_reads(
    benchmark: str, row: dict[str, Any], solution: str
) -> None:
    from sgl_eval._vendored.nemo_skills.math_grader import extract_answer

    shot = to_shot(benchmark, row, 0, choice_seed=0)
    assert shot.solution == solution
    assert extract_answer(shot.solution) == to_question(benchmark, row, 0, choice_seed=0).expected


def test_a_gpqa_example_ends_in_its_letter() -> None:
    question = to_question("gpqa", GPQA, 0, choice_seed=5)
    shot = to_shot("gpqa", GPQA, 0, choice_seed=5)
    assert shot.solution == f"Answer: {question.expected}"
