from __future__ import annotations

from collections import Counter

import pytest

from evals.accuracy.data import in_random_order, sample
from evals.accuracy.questions import Question


def _questions(levels: str) -> list[Question]:
    return [
        Question(id=f"q{n}", problem="p", expected="1", level=None if level == "-" else level)
        for n, level in enumerate(levels)
    ]


@pytest.mark.parametrize(
    ("levels", "size", "shares"),
    [
        ("a" * 60 + "b" * 30 + "c" * 10, 10, {"a": 6, "b": 3, "c": 1}),
        ("a" * 50 + "b" * 50, 3, {"a": 2, "b": 1}),  # equal remainders: the first name gets it
        ("a" * 98 + "b" * 2, 10, {"a": 10}),
        ("-" * 8 + "b" * 8, 4, {None: 2, "b": 2}),
        ("ab", 2, {"a": 1, "b": 1}),
    ],
)
def test_every_level_has_its_share(levels: str, size: int, shares: dict[str | None, int]) -> None:
    chosen = sample(_questions(levels), size, seed=0)
    assert Counter(question.level for question in chosen) == shares


def test_it_depends_on_the_seed_and_not_on_the_order_of_the_file() -> None:
    questions = _questions("ab" * 50)
    first = sample(questions, 20, seed=0)
    backwards = sample(questions[::-1], 20, seed=0)
    assert [q.id for q in first] == [q.id for q in backwards][::-1]
    assert first != sample(questions, 20, seed=1)
    assert first != questions[:20]


def test_a_larger_sample_of_one_level_holds_the_smaller_one() -> None:
    questions = _questions("a" * 100)
    small = {q.id for q in sample(questions, 10, seed=3)}
    assert small < {q.id for q in sample(questions, 30, seed=3)}


@pytest.mark.parametrize("size", [0, 4])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"cannot choose {size} of 3"):
        sample(_questions("aaa"), size, seed=0)


def test_the_order_is_random_seeded_and_does_not_depend_on_the_file() -> None:
    questions = _questions("a" * 200)
    order = in_random_order(questions, 7)
    assert order == in_random_order(questions[::-1], 7)
    assert Counter(one.id for one in order) == Counter(one.id for one in questions)
    assert order != in_random_order(questions, 8)
    places = [questions.index(one) for one in order[:50]]
    assert 70 < sum(places) / 50 < 130  # not the first ones: 99.5 +- 8
