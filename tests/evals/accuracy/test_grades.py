from __future__ import annotations

import pytest

from evals.accuracy.grades import counts, in_flight, mark, metrics
from evals.job import Answer, Mark


def answer(key: str, repeat: int, found: Mark, span: tuple[float, float] | None = None) -> Answer:
    return Answer(
        id=key, repeat=repeat, mark=found, expected="1", extracted=None, finish_reason="stop",
        prompt_tokens=1, completion_tokens=1, question="q", response="r",
        started_at=None if span is None else span[0], ended_at=None if span is None else span[1],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("score", "extracted", "reason", "expected"),
    [
        (1.0, "1", "stop", "correct"),
        (1.0, "1", "length", "correct"),
        (0.0, "2", "stop", "wrong"),
        (0.0, None, "stop", "no_answer"),
        (0.0, None, "length", "truncated"),
        (0.0, "2", "length", "truncated"),
        (0.0, None, "error", "error"),
        (1.0, "1", "abort", "error"),
        (0.0, "2", None, "error"),
    ],
)
def test_the_mark_of_a_sample(
    score: float, extracted: str | None, reason: str | None, expected: Mark
) -> None:
    assert mark(correct=score == 1.0, extracted=extracted, finish_reason=reason) == expected


def test_the_score_is_the_mean_of_question_means_without_errors() -> None:
    answers = [
        answer("a", 0, "correct"), answer("a", 1, "error"),
        answer("b", 0, "wrong"), answer("b", 1, "correct"),
        answer("c", 0, "error"), answer("c", 1, "error"),
    ]  # fmt: skip
    found = metrics(answers)
    assert found["score"] == pytest.approx(
        0.75
    )  # a: 1 of 1, b: 1 of 2; 2 of 3 samples would be .67
    assert found["error_rate"] == pytest.approx(0.5)
    assert counts(answers) == {
        "correct": 2, "wrong": 1, "no_answer": 0, "truncated": 0, "errors": 3,
    }  # fmt: skip


def test_no_usable_sample_is_no_score() -> None:
    with pytest.raises(ValueError, match="no sample"):
        metrics([answer("a", 0, "error")])


def test_in_flight_is_busy_time_until_the_last_request_began() -> None:
    """From 0 to 4, when the last one began: 4 + 2 busy seconds; its own end says nothing."""
    answers = [
        answer("a", 0, "wrong", (0.0, 4.0)), answer("b", 0, "wrong", (1.0, 3.0)),
        answer("c", 0, "wrong", (4.0, 8.0)), answer("d", 0, "error"),
    ]  # fmt: skip
    assert in_flight(answers) == pytest.approx(6 / 4)
    assert in_flight([answer("d", 0, "error")]) is None
