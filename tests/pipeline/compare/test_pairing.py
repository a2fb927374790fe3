"""The same questions on two sides: what flipped, how hard it was, what else differs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evals.job import Answer, Mark
from pipeline.compare.pairing import Pairing, pair, settings_diff
from pipeline.compare.text import excerpt, flip_lines, pairing_document, pairing_lines


def answer(key: str, mark: Mark, repeat: int = 0, **changes: Any) -> Answer:
    return Answer.model_validate(
        {
            "id": key, "repeat": repeat, "mark": mark, "expected": "4",
            "extracted": "4" if mark == "correct" else "5", "finish_reason": "stop",
            "prompt_tokens": 9, "completion_tokens": 10, "started_at": 1.0, "ended_at": 2.0,
            "question": f"What is {key}?", "response": mark, "level": None, **changes,
        }
    )  # fmt: skip


def paired(reference: list[Answer], arm: list[Answer]) -> Pairing:
    made = pair(reference, arm, alpha=0.05, job="gsm8k", names=("nccl", "fast"), layout="tp4")
    assert made is not None
    return made


def test_flips_stand_with_both_answers_lost_ones_first() -> None:
    reference = [answer("a", "correct"), answer("b", "wrong"), answer("c", "correct")]
    arm = [
        answer("a", "wrong", extracted="7", completion_tokens=30),
        answer("b", "correct"), answer("c", "correct"),
    ]  # fmt: skip
    made = paired(reference, arm)
    assert (made.questions, made.lost, made.gained) == (3, 1, 1)
    assert made.discordance == pytest.approx(2 / 3)
    lost, gained = made.flips
    assert (lost.id, lost.lost, lost.arm.extracted, lost.arm.tokens) == ("a", True, "7", 30)
    assert (lost.reference.mark, lost.question, lost.expected) == ("correct", "What is a?", "4")
    assert (gained.id, gained.lost) == ("b", False)
    assert made.same_text == pytest.approx(1 / 3)  # only c is the same word for word
    assert made.arm_tokens == pytest.approx(50 / 3)
    assert made.reference_marks == {"correct": 2, "wrong": 1, "no_answer": 0, "truncated": 0}


def test_repeats_are_one_question_and_show_a_sample_that_differs() -> None:
    """Right twice of two against once of two: one flip of half a question."""
    reference = [answer("a", "correct", 0), answer("a", "correct", 1)]
    arm = [answer("a", "correct", 0), answer("a", "truncated", 1, extracted=None)]
    made = paired(reference, arm)
    [flip] = made.flips
    assert (flip.reference_mean, flip.arm_mean) == (1.0, 0.5)
    assert (flip.arm.mark, flip.arm.extracted) == ("truncated", None)
    assert made.same_text == 0.5


def test_failed_requests_are_left_out_and_said() -> None:
    reference = [answer("a", "correct"), answer("b", "correct")]
    made = paired(reference, [answer("a", "correct"), answer("b", "error", extracted=None)])
    assert (made.questions, made.left_out, made.lost) == (1, 1, 0)
    nothing = pair(
        reference, [answer("a", "error")], alpha=0.05, job="gsm8k", names=("nccl", "fast")
    )
    assert nothing is None


def test_scores_by_difficulty_stand_in_its_order() -> None:
    levels = {"a": "10", "b": "2", "c": "2", "d": "hard"}
    reference = [answer(key, "correct", level=level) for key, level in levels.items()]
    arm = [
        answer(key, "wrong" if key == "c" else "correct", level=level)
        for key, level in levels.items()
    ]
    made = paired(reference, arm)
    assert [(one.level, one.questions, one.arm) for one in made.levels] == [
        ("2", 2, 0.5), ("10", 1, 1.0), ("hard", 1, 1.0),
    ]  # fmt: skip
    assert made.levels[0].difference == -0.5
    lower, upper = made.levels[0].interval
    assert lower < -0.5 < upper
    one_level = [answer(key, "correct", level="2") for key in "ab"]
    assert paired(one_level, one_level).levels == []


def test_settings_that_differ_are_named_and_those_that_nobody_tells_are_unknown() -> None:
    found = settings_diff(
        {"temperature": 0.0, "top_k": None, "prompt": "p", "only": 1},
        {"temperature": 0.6, "top_k": None, "prompt": "p"},
    )
    assert [(one.name, one.reference, one.arm) for one in found] == [
        ("only", "1", "?"), ("temperature", "0.0", "0.6"),
    ]  # fmt: skip


def test_every_flip_is_in_the_file_and_the_report_has_no_texts() -> None:
    reference = [answer(f"q{n}", "correct") for n in range(9)]
    arm = [answer(f"q{n}", "wrong", response="long\n" * 400) for n in range(9)]
    made = paired(reference, arm)
    rows = [json.loads(line) for line in flip_lines([made]).splitlines()]
    assert len(rows) == 9
    assert rows[0]["arm"]["response"] == "long\n" * 400
    assert (rows[0]["job"], rows[0]["reference_arm"], rows[0]["arm_name"]) == (
        "gsm8k", "nccl", "fast",
    )  # fmt: skip
    document = pairing_document(made)
    assert document["discordance"] == 1.0
    assert "response" not in document["flips"][0]["arm"]
    shown = pairing_lines(made)
    assert "  lost q0: expected 4, 5 (wrong) against 4 (correct)" in shown
    assert shown[-1] == "  and 4 more"


def test_an_excerpt_keeps_the_end_where_the_answer_is() -> None:
    assert excerpt("short", 10) == "short"
    assert excerpt("x" * 50 + "the answer", 10) == "… the answer"
