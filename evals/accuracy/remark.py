"""Marks answers anew, all by one marker, where two evaluators marked them each in its own way."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from evals.accuracy.grades import mark
from evals.job import Answer, Mark

if TYPE_CHECKING:
    from sgl_eval.types import Example, Sample

__all__ = ["mark_text", "remarked"]

_LETTER = re.compile(r"^\(?([A-Z])[).]?$")
_ANY_LINE = re.IGNORECASE | re.MULTILINE
# Forms in which few-shot prompts have an answer end, and which occurrence counts. GSM8K's own
# solutions end in the first form; what follows it is a question that the model made up.
_ENDINGS = (
    (re.compile(r"####[ \t]*(\S[^\n]*?)\s*$", re.MULTILINE), 0),
    (re.compile(r"\banswer\s+is\s*:?\s*(\S[^\n]*?)\.?\s*$", _ANY_LINE), -1),
    (re.compile(r"^\W*(?:final\s+)?answer\W*:\s*(\S[^\n]*?)\.?\s*$", _ANY_LINE), -1),
)

_Score = Callable[["Example", "Sample"], tuple[float, str | None]]


def remarked(answers: Sequence[Answer]) -> list[Answer]:
    """The same answers with marks of one marker; requests that failed stay errors."""
    result: list[Answer] = []
    for answer in answers:
        if answer.mark == "error":
            result.append(answer)
            continue
        made, extracted = mark_text(answer.response, answer.expected, answer.finish_reason)
        result.append(answer.model_copy(update={"mark": made, "extracted": extracted}))
    return result


def mark_text(text: str, expected: str, finish_reason: str | None) -> tuple[Mark, str | None]:
    r"""Mark one answer: a letter where a letter is expected, a number or expression else.

    sgl-eval's graders read ``\boxed{}`` and ``Answer: X``; an answer that ends in another form of
    ``_ENDINGS`` is handed to the same grader as if it stood in a box.

    Args:
        text: The answer.
        expected: The right one, ``C`` or ``(C)`` or ``1,234``.
        finish_reason: As the server said it; None counts as ``stop``, since few evaluators keep it.

    Returns:
        The mark, and what was read from the text.
    """
    letter = _LETTER.match(expected.strip())
    wanted = letter.group(1) if letter else expected.strip()
    score = _scorer("choice" if letter else "math")
    reason = "stop" if finish_reason is None else finish_reason
    correct, extracted = _score(score, text, wanted)
    if not extracted and (ending := _ending(text)) is not None:
        correct, extracted = _score(score, f"\\boxed{{{ending}}}", wanted)
    return mark(correct=correct, extracted=extracted, finish_reason=reason), extracted


def _ending(text: str) -> str | None:
    for form, at in _ENDINGS:
        if found := form.findall(text):
            answer = str(found[at]).strip("*$ ")
            letter = _LETTER.match(answer)
            return letter.group(1) if letter else answer
    return None


def _score(score: _Score, text: str, expected: str) -> tuple[bool, str | None]:
    from sgl_eval.types import Example, Sample

    example = Example(id="", inputs={"problem": ""}, target=expected)
    correct, extracted = score(example, Sample(text=text, finish_reason="stop"))
    return bool(correct), extracted or None


@cache
def _scorer(kind: str) -> _Score:
    # sgl-eval needs most of a second, which a comparison without it need not pay.
    from sgl_eval._vendored.nemo_skills.evaluator.math import MathEvaluator
    from sgl_eval.evals import _math, _multichoice

    if kind == "choice":
        scorer: _Score = _multichoice.make_score_one_fn()
        return scorer
    number: _Score = _math.make_score_one_fn(MathEvaluator(config={}))
    return number
