"""Puts the answers of two sides side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from evals.job import Answer, Mark
from pipeline.pairs.model import Flip, LevelScore, Pairing, Shown
from pipeline.stats.paired import difference_of

__all__ = ["pair"]

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
