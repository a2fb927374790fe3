"""What each answer counts as, and what the answers of one cell add up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from evals.job import Answer, Mark

__all__ = ["counts", "in_flight", "mark", "metrics", "scores"]


def mark(*, correct: bool, extracted: str | None, finish_reason: str | None) -> Mark:
    """The outcome of one sample; a request without a usable response is never a wrong answer.

    Args:
        correct: What the marker said.
        extracted: The answer that it read in the response; None, or blank, where there is none.
        finish_reason: ``stop`` and ``length`` are the two ways in which a generation ends by
            itself; all others (sgl-eval's ``error``, a server's ``abort``, none) are errors.
    """
    if finish_reason not in ("stop", "length"):
        return "error"
    if correct:
        return "correct"
    if finish_reason == "length":
        return "truncated"
    return "wrong" if extracted is not None and extracted.strip() else "no_answer"


def counts(answers: Sequence[Answer]) -> dict[str, int]:
    """How many samples there are of each mark."""
    found = Counter(answer.mark for answer in answers)
    return {
        "correct": found["correct"],
        "wrong": found["wrong"],
        "no_answer": found["no_answer"],
        "truncated": found["truncated"],
        "errors": found["error"],
    }


def scores(answers: Iterable[Answer]) -> dict[str, float]:
    """Share of right answers of each question, in [0, 1]; failed requests are left out."""
    by_question: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        if answer.mark != "error":
            by_question[answer.id].append(answer.mark == "correct")
    return {key: sum(marks) / len(marks) for key, marks in by_question.items()}


def metrics(answers: Sequence[Answer]) -> dict[str, float]:
    """Score and rates of a cell, as fractions.

    The score is the mean over questions of the mean over repeats, without samples that are
    errors: where none is, that is sgl-eval's ``score``. The rates are over all samples.

    Raises:
        ValueError: No sample has a usable response, so there is no score.
    """
    means = scores(answers)
    if not means:
        raise ValueError("no sample has a usable response")
    found, total = counts(answers), len(answers)
    return {
        "score": sum(means.values()) / len(means),
        "no_answer_rate": found["no_answer"] / total,
        "truncated_rate": found["truncated"] / total,
        "error_rate": found["errors"] / total,
    }


def in_flight(answers: Sequence[Answer]) -> float | None:
    """How many requests ran at once, averaged from the first start to the last start.

    Behind the last start there is nothing left to ask, and the end of a job, in which ever fewer
    requests run, says nothing of how full the server was kept.
    """
    spans = [
        (answer.started_at, answer.ended_at)
        for answer in answers
        if answer.started_at is not None and answer.ended_at is not None
    ]
    if not spans:
        return None
    first, last = min(start for start, _ in spans), max(start for start, _ in spans)
    if last <= first:
        return float(len(spans))
    return sum(max(0.0, min(end, last) - start) for start, end in spans) / (last - first)
