"""Answers that NeMo-Skills kept: ``output-rs<repeat>.jsonl`` or ``output.jsonl`` of a benchmark.

The rows are those of nemo_skills/inference/generate.py (``dump_outputs``) with the columns that
evaluation adds. Neither they nor ``metrics.json`` tell how the model was asked.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from evals.accuracy.answer_set import AnswerSet, occurrences, question_text
from evals.accuracy.grades import mark
from evals.files import DataError, read_rows
from evals.job import Answer, Mark

__all__ = ["TOOL", "nemo_folders", "read_nemo_run"]

TOOL = "NeMo-Skills"
_OUTPUT = re.compile(r"^output(?:-rs(\d+))?\.jsonl$")


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    problem: str
    expected_answer: str | float | int
    generation: str | None
    predicted_answer: str | float | int | None = None
    symbolic_correct: bool | None = None
    finish_reason: str | None = None
    num_generated_tokens: int | None = None
    generation_start_time: float | None = None
    generation_end_time: float | None = None


def nemo_folders(folder: Path) -> list[Path]:
    """The folder, or its subfolders, that hold outputs: one a benchmark (``eval-results/*``)."""
    if _outputs(folder):
        return [folder]
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and _outputs(sub))


def read_nemo_run(folder: Path, benchmark: str = "") -> AnswerSet:
    """Read the outputs of one benchmark; repeats are paired by their questions, not by row.

    Args:
        folder: Where they lie.
        benchmark: Its name; "" where only the folder's own name could tell.

    Raises:
        DataError: A file is damaged or unfinished, or repeats hold other questions.
    """
    if unfinished := sorted(folder.glob("output*.jsonl-async")):
        raise DataError(f"{unfinished[0]}: the run is not finished; a part cannot be compared")
    answers: list[Answer] = []
    rows_marked: list[bool] = []
    for repeat, path in enumerate(_outputs(folder)):
        rows = [_row(path, number, row) for number, row in read_rows(path)]
        ids = occurrences(question_text(row.problem).key[:16] for row in rows)
        if answers and set(ids) != {one.id for one in answers if one.repeat == 0}:
            raise DataError(f"{path}: holds other questions than {_outputs(folder)[0].name}")
        answers += [_answer(row, key, repeat) for row, key in zip(rows, ids, strict=True)]
        rows_marked += [row.symbolic_correct is not None for row in rows]
    return AnswerSet(
        tool=TOOL,
        benchmark=benchmark,
        answers=answers,
        settings={"repeats": len(_outputs(folder))},
        marked=all(rows_marked),
        notes=("NeMo-Skills keeps no settings beside its outputs",),
    )


def _outputs(folder: Path) -> list[Path]:
    named = [(found.group(1), path) for path in folder.iterdir() if (found := _match(path))]
    return [path for _, path in sorted(named, key=lambda one: int(one[0] or -1))]


def _match(path: Path) -> re.Match[str] | None:
    return _OUTPUT.match(path.name) if path.is_file() else None


def _row(path: Path, number: int, row: object) -> _Row:
    try:
        return _Row.model_validate(row)
    except ValidationError as error:
        wrong = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise DataError(f"{path}:{number}: is no answer of NeMo-Skills: {wrong}") from error


def _answer(row: _Row, key: str, repeat: int) -> Answer:
    extracted = None if row.predicted_answer is None else str(row.predicted_answer)
    made: Mark = "error"
    if row.generation is not None:
        reason = "stop" if row.finish_reason is None else row.finish_reason
        made = mark(correct=bool(row.symbolic_correct), extracted=extracted, finish_reason=reason)
    return Answer(
        id=key,
        repeat=repeat,
        mark=made,
        expected=str(row.expected_answer),
        extracted=extracted,
        finish_reason=row.finish_reason,
        prompt_tokens=None,
        completion_tokens=row.num_generated_tokens,
        started_at=row.generation_start_time,
        ended_at=row.generation_end_time,
        question=row.problem,
        response=row.generation or "",
    )
