"""Answers go to disk one line at a time, whole or not at all, also when the process is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from evals.accuracy.files import ANSWERS, PROGRESS
from evals.accuracy.marking.marker import Kind, Marked, mark_answer
from evals.files import write_whole
from evals.job import Answer

if TYPE_CHECKING:
    from sgl_eval.types import Example, Sample

__all__ = ["AnswerLog"]

_PROGRESS_EVERY_S = 0.25


class AnswerLog:
    """Marks each sample and writes it down; called on the main thread as they come.

    The answers file must not exist yet: nothing is ever overwritten. Each line is one write(2)
    of an unbuffered file, so that neither a signal handler nor SIGKILL leaves half of one.
    """

    def __init__(
        self,
        cell: Path,
        *,
        kind: Kind,
        total: int,
        levels: Mapping[str, str | None],
        kept: Sequence[Answer] = (),
    ) -> None:
        """Begin the file.

        Args:
            cell: The cell's folder.
            kind: How the questions are answered.
            total: Samples that there will be.
            levels: How hard each question is, by its id.
            kept: Answers of an earlier attempt, which come first.
        """
        self._file = (cell / ANSWERS).open("xb", buffering=0)
        self._progress = cell / PROGRESS
        self._kind = kind
        self._latest: tuple[Sample, Marked] | None = None
        self._levels = levels
        self._names: Mapping[str, tuple[str, int]] = {}
        self._state = {"done": 0, "total": total, "correct": 0}
        self._next_progress = float("inf")
        for answer in kept:
            self._append(answer)
        self._write_progress()

    def named(self, names: Mapping[str, tuple[str, int]]) -> Self:
        """This log, for examples that are called otherwise than their questions.

        Args:
            names: Question and repeat behind an example's id; an id that is not there is its own.
        """
        self._names = names
        return self

    def mark(self, example: Example, sample: Sample) -> tuple[float, str | None]:
        """Score and extracted answer of a sample (sgl_eval.runner.ScoreOneFn)."""
        marked = self._marked(example, sample)
        return float(marked.mark == "correct"), marked.extracted

    def __call__(
        self, example: Example, repeat: int, sample: Sample, _score: float, _extracted: str | None
    ) -> None:
        """Append one answer (arguments: sgl_eval.runner.OnSampleScoredFn)."""
        question, repeat = self._names.get(example.id, (example.id, repeat))
        marked = self._marked(example, sample)
        answer = Answer(
            id=question,
            repeat=repeat,
            mark=marked.mark,
            expected=str(example.target),
            extracted=None if marked.extracted is None else _utf8(marked.extracted),
            finish_reason=sample.finish_reason,
            prompt_tokens=sample.prompt_tokens,
            completion_tokens=sample.completion_tokens,
            started_at=sample.generation_start_time,
            ended_at=sample.generation_end_time,
            question=str(example.inputs["problem"]),
            response=_utf8(sample.text),
            level=self._levels.get(question),
            note=marked.note,
        )
        self._append(answer)

    def _marked(self, example: Example, sample: Sample) -> Marked:
        """The mark of a sample, made once: sgl-eval asks for the score, and then hands it over."""
        if self._latest is None or self._latest[0] is not sample:
            made = mark_answer(
                self._kind,
                sample.text,
                str(example.target),
                finish_reason=sample.finish_reason,
                question=str(example.inputs["problem"]),
            )
            self._latest = (sample, made)
        return self._latest[1]

    def _append(self, answer: Answer) -> None:
        self._file.write(answer.model_dump_json().encode() + b"\n")
        self._state["done"] += 1
        self._state["correct"] += answer.mark == "correct"
        if time.monotonic() >= self._next_progress:
            self._write_progress()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write_progress()
        self._file.close()

    def _write_progress(self) -> None:
        write_whole(self._progress, json.dumps(self._state))
        self._next_progress = time.monotonic() + _PROGRESS_EVERY_S


def _utf8(text: str) -> str:
    """Text without the lone surrogates that JSON escapes can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
