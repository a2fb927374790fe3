"""Marks answers anew, all by one marker, where two evaluators marked them each in its own way."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evals.accuracy.marking.marker import Kind, mark_answer
from evals.job import Answer

_LETTER = re.compile(r"^\(?([A-Z])[).]?$")


def remarked(answers: Sequence[Answer]) -> list[Answer]:
    """The same answers with marks of one marker; requests that failed stay errors.

    A letter is read where a letter is expected, a number or an expression else. An answer without
    a finish reason counts as ended by itself, since few evaluators keep one.
    """
    return [answer if answer.mark == "error" else _remarked(answer) for answer in answers]


def _remarked(answer: Answer) -> Answer:
    letter = _LETTER.match(answer.expected.strip())
    kind = Kind(name="choice", letters="ABCDEFGHIJ") if letter else Kind(name="math")
    marked = mark_answer(
        kind,
        answer.response,
        letter.group(1) if letter else answer.expected.strip(),
        finish_reason="stop" if answer.finish_reason is None else answer.finish_reason,
        question=answer.question,
    )
    return answer.model_copy(
        update={"mark": marked.mark, "extracted": marked.extracted, "note": marked.note}
    )
