"""Puts the answers of two sides side by side."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from evals.job import Answer, Mark
from pipeline.stats.paired import difference_of


def settings_diff(reference: Mapping[str, Any], arm: Mapping[str, Any]) -> list[SettingDiff]:
    """Every name whose value differs, in order; a name that a side lacks is unknown there."""
    return [
        SettingDiff(name=name, reference=_text(reference, name), arm=_text(arm, name))
        for name in sorted(reference.keys() | arm.keys())
        if reference.get(name, "?") != arm.get(name, "?")
    ]


def _text(side: Mapping[str, Any], name: str) -> str:
    if name not in side:
        return "?"
    value = side[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(_Frozen):
    """One sample of one side."""

    mark: Mark
    extracted: str | None
    tokens: int | None
    response: str


class Flip(_Frozen):
    """A question that the sides answer differently.

    Attributes:
        id: The question's.
        level: How hard the set says it is.
        question: Its text.
        expected: The right answer.
        reference_mean: Share of right answers on the reference side.
        arm_mean: The same on the other side.
        reference: A sample of the reference side that is behind the difference.
        arm: One of the other side.
    """

    id: str
    level: str | None
    question: str
    expected: str
    reference_mean: float
    arm_mean: float
    reference: Shown
    arm: Shown

    @property
    def lost(self) -> bool:
        """Whether the arm is the worse side."""
        return self.arm_mean < self.reference_mean


class LevelScore(_Frozen):
    """Questions of one difficulty: scores as fractions, and their difference's interval."""

    level: str
    questions: int
    reference: float
    arm: float
    difference: float
    interval: tuple[float, float]


class SettingDiff(_Frozen):
    """A setting that is not the same on both sides; ``?`` where a side does not say it."""

    name: str
    reference: str
    arm: str


class Pairing(_Frozen):
    """One comparison, question by question.

    Attributes:
        job: The job or benchmark.
        layout: Its name; "" where a side has none.
        reference: The reference side's name.
        arm: The other one's.
        questions: Asked on both sides, with a usable answer on each.
        left_out: Questions that were not.
        lost: Questions on which the arm scores lower.
        gained: Questions on which it scores higher.
        same_text: Share of samples (question and repeat) with the same response on both sides; None
            where none was asked on both.
        reference_tokens: Mean tokens of an answer; None where no answer says.
        arm_tokens: The same.
        reference_marks: Samples of each mark, over the questions of both sides.
        arm_marks: The same.
        reference_in_flight: Requests that were in flight at once, on average; None if unknown.
        arm_in_flight: The same.
        levels: By difficulty, where the data has it and there is more than one.
        flips: Every question that differs: lost ones first, the greatest differences first.
        settings: Of asking and sampling, where the sides differ.
    """

    job: str
    layout: str
    reference: str
    arm: str
    questions: int
    left_out: int
    lost: int
    gained: int
    same_text: float | None
    reference_tokens: float | None
    arm_tokens: float | None
    reference_marks: dict[Mark, int]
    arm_marks: dict[Mark, int]
    reference_in_flight: float | None
    arm_in_flight: float | None
    levels: list[LevelScore]
    flips: list[Flip]
    settings: list[SettingDiff]

    @property
    def discordance(self) -> float:
        """Share of questions on which the sides differ."""
        return (self.lost + self.gained) / self.questions


_ByQuestion = Mapping[str, Sequence[Answer]]


def pair(
    reference: Iterable[Answer],
    arm: Iterable[Answer],
    *,
    alpha: float,
    job: str,
    names: tuple[str, str],
    layout: str = "",
) -> Pairing | None:
    """Compare two sides question by question; requests that failed are left out.

    Args:
        reference: All answers of one side, of all its launches and repeats.
        arm: Those of the other.
        alpha: One-sided error rate of intervals.
        job: The job or benchmark.
        names: Of the reference and of the arm.
        layout: Where both ran.

    Returns:
        Without settings and requests in flight, which answers do not tell; None where no question
        has a usable answer on both sides.
    """
    left, right = _usable(reference), _usable(arm)
    shared = sorted(left.keys() & right.keys())
    if not shared:
        return None
    flips = [
        _flip(left[key], right[key]) for key in shared if _mean(left[key]) != _mean(right[key])
    ]
    flips.sort(key=lambda flip: (not flip.lost, -abs(flip.arm_mean - flip.reference_mean), flip.id))
    return Pairing(
        job=job,
        layout=layout,
        reference=names[0],
        arm=names[1],
        questions=len(shared),
        left_out=len(left.keys() | right.keys()) - len(shared),
        lost=sum(flip.lost for flip in flips),
        gained=sum(not flip.lost for flip in flips),
        same_text=_same_text(left, right, shared),
        reference_tokens=_tokens(left, shared),
        arm_tokens=_tokens(right, shared),
        reference_marks=_marks(left, shared),
        arm_marks=_marks(right, shared),
        reference_in_flight=None,
        arm_in_flight=None,
        levels=_levels(left, right, shared, alpha),
        flips=flips,
        settings=[],
    )


def _usable(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.mark != "error":
            found[answer.id].append(answer)
    return found


def _mean(answers: Sequence[Answer]) -> float:
    return sum(answer.mark == "correct" for answer in answers) / len(answers)


def _flip(reference: Sequence[Answer], arm: Sequence[Answer]) -> Flip:
    means = _mean(reference), _mean(arm)
    lost = means[1] < means[0]
    first = reference[0]
    return Flip(
        id=first.id,
        level=first.level,
        question=first.question,
        expected=first.expected,
        reference_mean=means[0],
        arm_mean=means[1],
        reference=_shown(reference, correct=lost),
        arm=_shown(arm, correct=not lost),
    )


def _shown(answers: Sequence[Answer], *, correct: bool) -> Shown:
    """The first sample that is as the flip says; there is one, since the means differ."""
    one = next(answer for answer in answers if (answer.mark == "correct") is correct)
    return Shown(
        mark=one.mark, extracted=one.extracted, tokens=one.completion_tokens, response=one.response
    )


def _same_text(left: _ByQuestion, right: _ByQuestion, shared: Sequence[str]) -> float | None:
    same: list[bool] = []
    for key in shared:
        # Launches may have asked the same repeat; they pair up in their order.
        others = defaultdict(list)
        for answer in right[key]:
            others[answer.repeat].append(answer.response)
        same += [
            answer.response == others[answer.repeat].pop(0)
            for answer in left[key]
            if others[answer.repeat]
        ]
    return sum(same) / len(same) if same else None


def _tokens(side: _ByQuestion, shared: Sequence[str]) -> float | None:
    counts = [a.completion_tokens for key in shared for a in side[key] if a.completion_tokens]
    return fmean(counts) if counts else None


def _marks(side: _ByQuestion, shared: Sequence[str]) -> dict[Mark, int]:
    found = Counter(answer.mark for key in shared for answer in side[key])
    order: tuple[Mark, ...] = ("correct", "wrong", "no_answer", "truncated")
    return {mark: found[mark] for mark in order}


def _levels(
    left: _ByQuestion, right: _ByQuestion, shared: Sequence[str], alpha: float
) -> list[LevelScore]:
    by_level: dict[str, list[str]] = defaultdict(list)
    for key in shared:
        level = left[key][0].level
        if level is not None:
            by_level[level].append(key)
    if len(by_level) < 2:
        return []
    return [
        _level(level, [(_mean(left[key]), _mean(right[key])) for key in by_level[level]], alpha)
        for level in sorted(by_level, key=_in_order)
    ]


def _level(level: str, means: Sequence[tuple[float, float]], alpha: float) -> LevelScore:
    both = np.array(means, dtype=float)
    seen = difference_of(both[:, 1] - both[:, 0], alpha)
    return LevelScore(
        level=level,
        questions=len(means),
        reference=float(both[:, 0].mean()),
        arm=float(both[:, 1].mean()),
        difference=seen.difference,
        interval=(seen.interval.lower, seen.interval.upper),
    )


def _in_order(level: str) -> tuple[int, float, str]:
    """Numbers by their value, in front of words."""
    try:
        return (0, float(level), "")
    except ValueError:
        return (1, 0.0, level)
