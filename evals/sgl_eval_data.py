"""Benchmarks other than GSM8K and GPQA are loaded by sgl-eval itself, from its own table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evals.data import DataSet
from evals.questions import DataError, Question, digest

__all__ = ["ShippedQuestion", "load_shipped"]


@dataclass(frozen=True, kw_only=True)
class ShippedQuestion(Question):
    """A question that sgl-eval loaded, with its own Example, which may hold images."""

    example: Any


def load_shipped(benchmark: str) -> DataSet:
    """All questions of one of sgl-eval's benchmarks.

    sgl-eval 0.1.3 has no public way to a benchmark's questions without asking them, so this
    goes through the two names below; the version is pinned and a test loads one set.

    Raises:
        DataError: sgl-eval cannot load it (most sets come from the network at first use).
    """
    from sgl_eval.evals._registry import _TABLE, _build_loader

    entry = next(row for row in _TABLE if row["name"] == benchmark)
    try:
        examples = _build_loader(entry)(None)
    # Its loaders run vendored download scripts, whose errors have no common class.
    except Exception as error:
        raise DataError(
            f"sgl-eval cannot load {benchmark} ({type(error).__name__}: {error}): check the "
            "network, or point `data` at a local file with the columns problem, expected_answer"
        ) from error
    questions: list[Question] = [
        ShippedQuestion(
            id=example.id,
            problem=str(example.inputs["problem"]),
            expected=str(example.target),
            level=_level(example.meta),
            example=example,
        )
        for example in examples
    ]
    rows = [[question.id, question.problem, question.expected] for question in questions]
    return DataSet(
        questions=questions, source=f"sgl-eval {benchmark}", sha256=digest(rows), rows=len(rows)
    )


def _level(meta: dict[str, Any]) -> str | None:
    for key in ("difficulty", "level", "subset_for_metrics"):
        if meta.get(key) is not None:
            return str(meta[key])
    return None
