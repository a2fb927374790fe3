import json
from pathlib import Path
from typing import Any

import pytest
from sgl_eval._vendored.nemo_skills.evaluator.mcq import eval_mcq
from sgl_eval._vendored.nemo_skills.math_grader import extract_answer

from launchers.fake_engine.answers import AnswerBook, AnswersError, Known, reply
from launchers.fake_engine.settings import FakeSettings

QUESTIONS = [Known(question=f"What is {n} + {n}?", answer=str(2 * n)) for n in range(1000)]


def right(**told: object) -> set[str]:
    settings = FakeSettings.model_validate(told)
    return {
        known.question
        for known in QUESTIONS
        if extract_answer(reply(settings, known).text) == known.answer
    }


def test_accuracy_is_met_and_a_lower_one_is_a_subset() -> None:
    better, worse = right(accuracy=0.9, seed=3), right(accuracy=0.7, seed=3)
    assert len(better) == pytest.approx(900, abs=40)
    assert len(worse) == pytest.approx(700, abs=60)
    assert worse < better
    assert right(accuracy=1.0) == {known.question for known in QUESTIONS}
    assert right(accuracy=0.0) == set()


def test_arms_of_one_seed_agree_whatever_their_own_seed_and_other_seeds_do_not() -> None:
    assert right(accuracy=0.7, arm_seed=1) == right(accuracy=0.7, arm_seed=2)
    assert right(accuracy=0.7, seed=1) != right(accuracy=0.7, seed=2)


def test_flips_go_both_ways_and_differ_by_arm() -> None:
    plain = right(accuracy=0.5)
    one, two = (right(accuracy=0.5, flip_rate=0.1, arm_seed=seed) for seed in (1, 2))
    assert len(plain ^ one) == pytest.approx(100, abs=35)
    assert one - plain
    assert plain - one
    assert one != two


def test_no_answer_and_rambling_have_nothing_to_extract() -> None:
    silent = [reply(FakeSettings(no_answer_rate=1.0), known) for known in QUESTIONS[:5]]
    assert {extract_answer(said.text) for said in silent} == {None}
    assert not any(said.endless for said in silent)
    rambling = [reply(FakeSettings(truncate_rate=1.0), known) for known in QUESTIONS[:5]]
    assert all(said.endless for said in rambling)
    assert {extract_answer(said.text) for said in rambling} == {None}


@pytest.mark.parametrize("answer", ["A", "B", "C", "D"])
@pytest.mark.parametrize("style", ["auto", "letter", "boxed"])
def test_letters_are_read_by_the_multiple_choice_grader(
    tmp_path: Path, answer: str, style: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    known = Known(question="Which?", answer=answer)
    told = [
        FakeSettings.model_validate({"answer_style": style, "accuracy": share})
        for share in (1.0, 0.0)
    ]
    rows.write_text(
        "".join(
            json.dumps({"generation": reply(settings, known).text, "expected_answer": answer})
            + "\n"
            for settings in told
        )
    )
    eval_mcq({"input_file": str(rows)})
    graded = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["symbolic_correct"] for row in graded] == [True, False]
    assert graded[1]["predicted_answer"] in set("ABCD") - {answer}


@pytest.mark.parametrize("answer", ["7", "-3", "1,234", "0.5", "0", "x^2"])
def test_a_wrong_answer_is_another_one_and_always_the_same(answer: str) -> None:
    known = Known(question="?", answer=answer)
    said = reply(FakeSettings(accuracy=0.0), known)
    assert extract_answer(said.text) not in {answer, None}
    assert said == reply(FakeSettings(accuracy=0.0), known)


def book(tmp_path: Path, *rows: dict[str, Any]) -> AnswerBook:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return AnswerBook.read((str(path),))


def answer_to(answers: AnswerBook, prompt: str) -> str | None:
    known = answers.find(prompt)
    return None if known is None else known.answer


def test_the_last_question_of_a_prompt_is_the_one_asked(tmp_path: Path) -> None:
    answers = book(
        tmp_path,
        {"problem": "How many\napples?", "expected_answer": 3},
        {"problem": "How many pears?", "expected_answer": "4"},
        {"problem": "pears?", "expected_answer": "5"},
    )
    shots = "Q: How many pears?\nThe answer is 4.\n\nQ: How many  apples?\nA:"
    assert answer_to(answers, shots) == "3"
    assert answer_to(answers, "How many pears?") == "4"  # the longer of two that end alike
    assert answer_to(answers, "How many plums?") is None
    assert "none of my answers" in reply(FakeSettings(), None).text


def test_published_gsm8k_rows_are_understood(tmp_path: Path) -> None:
    answers = book(tmp_path, {"question": "Cost?", "answer": "<<1+1=2>>2\n#### 1,250"})
    assert answer_to(answers, "Cost?") == "1250"


@pytest.mark.parametrize(
    ("options", "letter"),
    [
        ("A) 10 m\nB) 1 m\nC) 1 m per s\nD) 2", "B"),
        ("A) 1 m per s\nB) 10 m\nC) 2\nD) 1 m", "D"),
        ("A) 1 m\nB) 10 m\nC) 2\nD) 3\n\nThink first.", "A"),
        ("A) 10 m\nB) 3\nC) 2\nD) 1 m\n\nThink first.", "D"),
        ("A) 4\nB) 3\nC) 2\nD) 1", None),
    ],
)
def test_published_gpqa_rows_take_the_letter_from_the_prompt(
    tmp_path: Path, options: str, letter: str | None
) -> None:
    answers = book(tmp_path, {"Question": "How far?\n", "Correct Answer": "1 m"})
    assert answer_to(answers, f"Choose.\n\nHow far?\n\n{options}") == letter


def test_a_wrong_file_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(AnswersError, match=r"nowhere.jsonl: No such file"):
        AnswerBook.read((str(tmp_path / "nowhere.jsonl"),))
    with pytest.raises(AnswersError, match=r"answers.jsonl:2: .*problem \+ expected_answer or"):
        book(tmp_path, {"problem": "p", "expected_answer": "1"}, {"problem": "p"})
