"""The marker, on forms that models write: what is read as an answer, and what must not be."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from evals.accuracy.marking.marker import KINDS, mark_answer, marked_anew, marker
from evals.job import Answer
from tests.evals.accuracy.test_grades import answer

FORMS = tomllib.loads((Path(__file__).parent / "data" / "marking_forms.toml").read_text("utf-8"))
LETTERS, NUMBERS = FORMS["letters"], FORMS["numbers"]
NO_LETTERS, NO_NUMBERS = FORMS["not"]["letters"], FORMS["not"]["answers"]
GPQA, GSM8K = KINDS["gpqa"], KINDS["gsm8k"]
CHOICES = "Which one?\n\nA) 1 kg\nB) 2 kg\nC) 3 kg\nD) 4 kg"


def _wrong(table: Mapping[str, Sequence[str]], template: str, benchmark: str) -> list[object]:
    """The entries of a table that are not marked right."""
    return [
        (text, expected, found)
        for expected, texts in table.items()
        for text in texts
        if (
            found := mark_answer(
                KINDS[benchmark], template.replace("?", text), expected, finish_reason="stop"
            )
        ).mark
        != "correct"
    ]


def test_the_kinds_are_those_of_the_installed_sgl_eval() -> None:
    from sgl_eval.registry import list_evals

    names = {"math": "math", "choice": "multichoice"}
    ours = {benchmark: names[kind.name] for benchmark, kind in KINDS.items()}
    assert ours == {spec.name: spec.category for spec in list_evals() if spec.name != "ruler2"}


def test_a_letter_is_read_in_every_form() -> None:
    assert sum(map(len, LETTERS.values())) > 100
    assert _wrong(LETTERS, "?", "gpqa") == []


def test_a_letter_that_is_read_is_not_another_one() -> None:
    for expected, texts in LETTERS.items():
        other = "D" if expected != "D" else "A"
        for text in texts:
            found = mark_answer(GPQA, text, other, finish_reason="stop", question=CHOICES)
            assert (text, found.mark, found.extracted) == (text, "wrong", expected)


def test_words_and_formulas_choose_nothing(subtests: pytest.Subtests) -> None:
    for text in NO_LETTERS:
        with subtests.test(text):
            for expected in "ABCD":
                found = mark_answer(GPQA, text, expected, finish_reason="stop")
                assert (found.mark, found.extracted) == ("no_answer", None)


def test_a_letter_beyond_the_choices_is_wrong_and_said_to_be_none() -> None:
    found = mark_answer(GPQA, r"\boxed{E}", "C", finish_reason="stop", question=CHOICES)
    assert (found.mark, found.extracted) == ("wrong", "E")
    assert found.note == "E is none of the choices A to D"
    ten = CHOICES + "".join(f"\n{letter}) {letter} kg" for letter in "EFGHIJ")
    assert mark_answer(GPQA, "Answer: J", "J", finish_reason="stop", question=ten).mark == "correct"
    assert mark_answer(KINDS["mmlu_pro"], "Answer: J", "J", finish_reason="stop").mark == "correct"
    assert mark_answer(GPQA, "Answer: J", "J", finish_reason="stop").mark == "wrong"


def test_two_letters_are_no_choice() -> None:
    for text in ("Answer: A, C", r"\boxed{A \text{ and } C}", "Answer: A or C", r"\boxed{A\&C}"):
        for expected in "AC":
            found = mark_answer(GPQA, text, expected, finish_reason="stop")
            assert found.mark == "wrong", text
            assert found.note is not None
            assert "more than one" in found.note


def test_what_is_said_in_passing_counts_only_in_a_text_that_ended() -> None:
    text = "Perhaps the answer is C. But then the mass"
    assert mark_answer(GPQA, text, "C", finish_reason="length").mark == "truncated"
    assert mark_answer(GPQA, text, "C", finish_reason="stop").mark == "correct"
    assert mark_answer(GPQA, "Answer: C\nAs to", "C", finish_reason="length").mark == "correct"
    thought = "<think>The answer is C, I guess</think>Sorry, I cannot say."
    assert mark_answer(GPQA, thought, "C", finish_reason="stop").mark == "no_answer"


def test_a_number_in_a_box_is_read_in_every_form() -> None:
    assert sum(map(len, NUMBERS.values())) > 150
    assert _wrong(NUMBERS, r"It is \boxed{?} then.", "gsm8k") == []


def test_another_number_stays_wrong(subtests: pytest.Subtests) -> None:
    for content, expected in FORMS["not"]["numbers"]:
        with subtests.test(content):
            found = mark_answer(GSM8K, f"\\boxed{{{content}}}", expected, finish_reason="stop")
            assert (found.mark, found.extracted) == ("wrong", content)


def test_without_a_number_there_is_no_answer(subtests: pytest.Subtests) -> None:
    for text in NO_NUMBERS:
        with subtests.test(text):
            found = mark_answer(GSM8K, text, "18", finish_reason="stop")
            assert (found.mark, found.extracted) == ("no_answer", None)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("First \\boxed{5}, no: \\boxed{18}", "correct"),
        ("\\boxed{18} is what I put in \\boxed{}.", "correct"),
        ("<think>\\boxed{5}</think> So \\boxed{18}", "correct"),
        ("<think>\\boxed{18}</think>", "correct"),
        ("6 + 12 = 18.\n#### 18", "correct"),
        ("#### 18 eggs", "correct"),
        ("The answer is 18.", "correct"),
        ("So the final answer is: $18. I hope it is correct.", "correct"),
        ("Answer: 18", "correct"),
        ("The answer is 17. No, the answer is 18.", "correct"),
        ("The answer is 17.\n#### 18", "correct"),
        ("The answer is 18, said Tom; \\boxed{17}", "wrong"),
        ("#### 17", "wrong"),
    ],
)
def test_the_last_of_the_most_formal_answers_counts(text: str, mark: str) -> None:
    assert mark_answer(GSM8K, text, "18", finish_reason="stop").mark == mark


def test_without_an_end_only_a_box_counts() -> None:
    assert mark_answer(GSM8K, "The answer is 18.", "18", finish_reason="length").mark == "truncated"
    assert mark_answer(GSM8K, "\\boxed{18} and", "18", finish_reason="length").mark == "correct"
    assert mark_answer(GSM8K, "\\boxed{18", "18", finish_reason="length").mark == "truncated"


@pytest.mark.parametrize("reason", ["error", "abort", None])
def test_a_failed_request_is_an_error_whatever_it_says(reason: str | None) -> None:
    assert mark_answer(GSM8K, "\\boxed{18}", "18", finish_reason=reason).mark == "error"


@pytest.mark.parametrize(
    "next_question",
    [
        "Question: A shop sells 3 pens a day.\nAnswer:",
        "\nQ: How many?\nA:",
        "Problem:\nA car",
        "**Question 2:** Tom",
        "### Problem 3\nTom",
        "Question 12\nTom",
        "Human: And then?",
        "Next question: Tom",
        "<|im_end|>\n<|im_start|>user\nTom",
        "</s>Tom",
    ],
)
def test_the_models_own_next_question_is_not_read(next_question: str) -> None:
    text = f"6 + 12 = 18. \\boxed{{18}}\n{next_question} 3*5 = \\boxed{{15}}"
    found = mark_answer(GSM8K, text, "18", finish_reason="length")
    assert (found.mark, found.note) == ("correct", "read up to the model's own next question")
    assert mark_answer(GSM8K, text, "15", finish_reason="stop").extracted == "18"


def test_a_question_that_is_repeated_before_its_answer_is_no_next_one() -> None:
    for head in ("Question: ", "Let us see.\nProblem: ", "Q: 6 and 12?\nQ: "):
        found = mark_answer(GSM8K, f"{head}how many?\n\\boxed{{18}}", "18", finish_reason="stop")
        assert (found.mark, found.note) == ("correct", None)


@pytest.mark.parametrize(
    ("content", "expected", "mark"),
    [
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", "correct"),
        ("x^2 + 2x + 1", "(x+1)^2", "correct"),
        ("x^3", "x^2", "wrong"),
        (r"2^3 \cdot 3", "24", "correct"),
        (r"\text{even}", "even", "correct"),
        (r"\text{odd}", "even", "wrong"),
        (r"3\pi", r"3\pi", "correct"),
    ],
)
def test_what_is_no_number_is_compared_as_an_expression(
    content: str, expected: str, mark: str
) -> None:
    found = mark_answer(GSM8K, f"\\boxed{{{content}}}", expected, finish_reason="stop")
    assert found.mark == mark


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 100_000,
        "Answer: " * 100_000,
        "The final answer is " * 50_000,
        "Answer: C or A, " * 50_000,
        "{" * 500_000,
        "\\boxed{" + "A " * 200_000 + "}",
        "\\boxed{" + "9" * 300_000 + "}",
        "Question: " * 50_000,
        "Question:\n" * 50_000,
        "#### " * 100_000,
        " " * 1_000_000,
        "*" * 500_000,
        "\\text{" * 100_000,
        "\\boxed{9^{9^{9^{9}}}}",
        "\\boxed{((9^{999})^{999})^{999}}",
        "\\boxed{99999999!}",
        "\\boxed{\\binom{99999999}{4999999}}",
        "\\boxed{1e999 + 1}",
        "answer is (" * 80_000,
        "\\boxed{" + "1 " * 90 + "}",
        "\\boxed{" + "(" * 199 + "}",
        "\\boxed{" + "x " * 99 + "}",
        "Answer:" + " \n" * 300_000,
        "\\boxed" * 150_000,
        "A) " * 300_000,
        "_" * 500_000,
    ],
)
def test_marking_ends_soon_whatever_the_text(text: str) -> None:
    began = time.process_time()
    for kind, expected in ((GSM8K, "18"), (GPQA, "C")):
        assert mark_answer(kind, text, expected, finish_reason="stop").mark != "correct"
    assert time.process_time() - began < 10  # seconds on one core; 1.6 at most where it is idle


def test_what_is_too_long_is_said_to_be() -> None:
    long = mark_answer(GSM8K, "x" * 1_500_000 + "\\boxed{18}", "18", finish_reason="stop")
    assert long.mark == "correct"
    assert long.note == "only the last 1,000,000 of 1,500,010 characters are read"
    big = mark_answer(GSM8K, f"\\boxed{{x^2{'+x' * 300}}}", "18", finish_reason="stop")
    assert (big.mark, big.note) == ("wrong", "603 characters are too many for an answer")
    assert len(big.extracted or "") == 200
    power = mark_answer(GSM8K, "\\boxed{7^{7^{77}}}", "18", finish_reason="stop")
    assert power.note == "its powers are too large to be worked out"


def test_answers_of_another_marker_are_marked_anew_and_failed_requests_stay_errors() -> None:
    def old(key: str, response: str, reason: str) -> Answer:
        return Answer(
            id=key,
            repeat=0,
            mark="error" if reason == "error" else "wrong",
            expected="C",
            extracted="I",
            finish_reason=reason,
            prompt_tokens=1,
            completion_tokens=1,
            started_at=None,
            ended_at=None,
            question=CHOICES,
            response=response,
        )

    given = [
        old("a", r"The final answer is $\boxed{C}$. I hope it is correct.", "stop"),
        old("b", r"\boxed{}", "stop"),
        old("c", "", "error"),
    ]
    new = marked_anew(given, "gpqa")
    assert [one.mark for one in new] == ["correct", "no_answer", "error"]
    assert [one.extracted for one in new] == ["C", None, "I"]
    assert [one.response for one in new] == [one.response for one in given]


def test_answers_of_any_benchmark_are_marked_by_what_is_expected() -> None:
    """Another evaluator's files name no benchmark of ours, and few keep a finish reason."""
    letter = answer("a", 0, "wrong").model_copy(
        update={"expected": "(C)", "response": "Answer: **C**", "finish_reason": None}
    )
    number = letter.model_copy(update={"expected": "1000", "response": "\\boxed{1{,}000}"})
    assert [one.mark for one in marked_anew([letter, number])] == ["correct", "correct"]


@pytest.mark.parametrize("text", ["", "(sha256 0123456789ab)"])
def test_an_answer_without_its_text_cannot_be_marked_anew(text: str) -> None:
    kept = answer("a", 0, "correct").model_copy(update={"extracted": "18", "response": text})
    with pytest.raises(ValueError, match="the text of a, repeat 0, was not kept"):
        marked_anew([kept], "gsm8k")


def test_the_marker_names_all_that_can_move_a_mark() -> None:
    assert marker().startswith("servegate marker 2 over NVIDIA/NeMo-Skills@645cf567")
    assert "math-verify 0." in marker()
    assert "latex2sympy2_extended 1." in marker()


def test_letters_and_numbers_need_no_slow_package() -> None:
    code = (
        "import sys; from evals.accuracy.marking.marker import KINDS, mark_answer\n"
        "mark_answer(KINDS['gsm8k'], 'It is \\\\boxed{18 eggs}', '18', finish_reason='stop')\n"
        "mark_answer(KINDS['gpqa'], 'Answer: C', 'C', finish_reason='stop')\n"
        "print(sorted({'sympy', 'sgl_eval', 'math_verify'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert out.stdout.strip() == "[]"
