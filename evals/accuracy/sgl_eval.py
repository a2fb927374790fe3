"""Answers that sgl-eval's own command line wrote, read as servegate's.

``sgl-eval run`` writes one ``output-rs<repeat>.jsonl`` for each repeat, a sample a line, and a
``metrics.json`` with what was asked of the model (sgl-eval 0.1.3: predictions.py and
pipeline/report.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evals.accuracy.answer_set import AnswerSet
from evals.accuracy.data import DataSet
from evals.accuracy.grades import mark
from evals.accuracy.questions import Question
from evals.files import DataError, digest, read_document, read_rows
from evals.job import Answer
from evals.told_settings import flat, model_name, told


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


TOOL = "sgl-eval"
_OUTPUT = re.compile(r"^output-rs(\d+)\.jsonl$")
_METRICS = "metrics.json"

# Of metrics.json. A preset's settings are among those of `gen`; its name, and the score that it
# expects, are not. How many examples were asked shows in the questions themselves.
_NOT_SETTINGS = (
    r"name",
    r"num_examples",
    r"planned_examples",
    r"completed_samples",
    r"partial",
    r"latency_seconds",
    r"output_throughput_tps",
    r"total_(completion|prompt)_tokens",
    r"token_usage(\..*)?",
    r"aggregate(\..*)?",
    r"timestamp",
    r"base_url",
    r"preset\.(spec|path|benchmark|expected_score)",
    r"model_preset\.(model_id|source)",
    r"prompt\.(spec|path)",
)
_NAMES = {
    "gen.": "",
    "gen.extra_body.": "",
    "gen.system_message": "system",
    "prompt.yaml": "prompt",
    "n_repeats": "repeats",
    "num_threads": "concurrency",
    "sgl_eval_version": "sgl_eval",
    "ns_commit_sha": "grader",
}


def is_sgl_eval_run(folder: Path) -> bool:
    """Whether a folder looks like one; NeMo-Skills gives its outputs the same names."""
    metrics = folder / _METRICS
    if not metrics.is_file() or not _outputs(folder):
        return False
    try:
        content = read_document(metrics)
    except DataError:
        return True  # a damaged file is told of when it is read
    return isinstance(content, dict) and ("gen" in content or "n_repeats" in content)


def read_sgl_eval_run(folder: Path) -> AnswerSet:
    """Read a run folder of sgl-eval.

    Raises:
        DataError: A file is missing or damaged, or samples that were planned are not there: a part
            of a run says nothing of the whole.
    """
    metrics = _metrics(folder)
    answers = [
        answer for repeat, path in _outputs(folder).items() for answer in _read(path, repeat)
    ]
    planned = metrics["num_examples"] * metrics["n_repeats"]
    if len({(one.id, one.repeat) for one in answers}) != len(answers) or len(answers) != planned:
        raise DataError(
            f"{folder}: holds {len(answers)} samples, and {_METRICS} says {planned}; a part of a "
            "run cannot be compared"
        )
    if metrics.get("partial"):
        raise DataError(
            f"{folder}: {_METRICS} says that the run was interrupted; a part of a run cannot be "
            "compared"
        )
    settings = told(flat(metrics), not_settings=_NOT_SETTINGS, names=_NAMES)
    if "model" in settings:
        settings["model"] = model_name(settings["model"])
    return AnswerSet(tool=TOOL, benchmark=metrics["name"], answers=answers, settings=settings)


def _outputs(folder: Path) -> dict[int, Path]:
    found = {
        int(matched.group(1)): path
        for path in folder.iterdir()
        if (matched := _OUTPUT.match(path.name))
    }
    return dict(sorted(found.items()))


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / _METRICS
    metrics = read_document(path)
    needed = {"name": str, "n_repeats": int, "num_examples": int, "gen": dict}
    try:
        wrong = [key for key, kind in needed.items() if not isinstance(metrics[key], kind)]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: is no metrics.json of sgl-eval: {error!r}") from error
    if wrong:
        raise DataError(f"{path}: {', '.join(wrong)} is not of the expected type")
    found: dict[str, Any] = metrics
    return found


def _read(path: Path, repeat: int) -> list[Answer]:
    found: list[Answer] = []
    for number, row in read_rows(path):
        try:
            found.append(_answer(row, repeat))
        except ValidationError as error:
            wrong = ", ".join(str(one["loc"][0]) for one in error.errors())
            raise DataError(f"{path}:{number}: is no sample of sgl-eval: {wrong}") from error
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: is no sample of sgl-eval: {error!r}") from error
    return found


def _answer(row: Mapping[str, Any], repeat: int) -> Answer:
    return Answer(
        id=row["id"],
        repeat=repeat,
        mark=mark(
            correct=bool(row["symbolic_correct"]),
            extracted=row["predicted_answer"],
            finish_reason=row["finish_reason"],
        ),
        expected=str(row["expected_answer"]),
        extracted=row["predicted_answer"],
        finish_reason=row["finish_reason"],
        prompt_tokens=None,
        completion_tokens=row["num_generated_tokens"],
        started_at=row.get("generation_start_time"),
        ended_at=row.get("generation_end_time"),
        question=row.get("problem", ""),
        response=row["generation"],
    )
