"""Answers that evalscope kept: ``reviews/<model>/<benchmark>_<subset>.jsonl`` of a run folder.

``predictions`` of the same name and ``configs/task_config*.yaml`` belong to them. The rows are of
evalscope 1.14.1, api/evaluator/cache.py (``ReviewResult``, ``ModelResult``); earlier versions write
``input`` in place of ``messages``, and one target as a string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from evals.accuracy.answer_set import AnswerSet, without_shared_lines
from evals.accuracy.grades import mark
from evals.files import DataError, read_rows
from evals.job import Answer, Mark
from evals.told_settings import flat, model_name, told

__all__ = ["TOOL", "read_evalscope_review", "review_files"]

TOOL = "evalscope"

# Of task_config.yaml. Which benchmarks and how many questions shows in the answers.
_NOT_SETTINGS = (
    r"datasets",
    r"limit",
    r"dataset_dir",
    r"dataset_hub",
    r"work_dir",
    r"no_timestamp",
    r"outputs",
    r"use_cache",
    r"rerun_review",
    r"enable_progress_tracker",
    r"ignore_errors",
    r"debug",
    r"dry_run",
    r"api_url",
    r"api_key",
    r"timeout",
    r"analysis_report",
    r"collect_perf",
    r"stream",
    r"model",
    r"model_args\.(api_key|base_url|device_map)",
    r"evaluation_identity(\..*)?",
    r"generation_config\.(timeout|retries|retry_interval|batch_size|stream)",
    r"dataset_args\..*\.(local_path|dataset_id)",
    r"sandbox.*",
    r"use_sandbox",
    r"(created|started|finished)_at",
)
_NAMES = {
    "generation_config.": "",
    "generation_config.stop_seqs": "stop",
    "model_id": "model",
    "eval_batch_size": "concurrency",
    "evalscope_version": "evalscope",
}
_M = TypeVar("_M", bound=BaseModel)
_REASONS = {"max_tokens": "length", "model_length": "length", "unknown": "stop"}


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Score(_Lenient):
    value: dict[str, float | bool] = {}
    extracted_prediction: str | None = None
    prediction: str | None = None
    main_score_name: str | None = None


class _SampleScore(_Lenient):
    score: _Score
    group_id: int | str | None = None
    generation_index: int | None = None


class _Message(_Lenient):
    role: str = ""
    content: Any = ""


class _Review(_Lenient):
    index: int | str
    target: Any = None
    input: str | None = None
    messages: list[_Message] = []
    sample_score: _SampleScore


class _Choice(_Lenient):
    message: _Message
    stop_reason: str = "unknown"


class _Usage(_Lenient):
    output_tokens: int | None = None


class _Output(_Lenient):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Prediction(_Lenient):
    index: int | str
    model_output: _Output | None = None


def review_files(folder: Path) -> list[Path]:
    """The review files of a run folder, of its ``reviews`` or of one model's reviews."""
    names = folder.resolve().parts
    if names[-1:] == ("reviews",):
        return sorted(folder.glob("*/*.jsonl"))
    if names[-2:-1] == ("reviews",):
        return sorted(folder.glob("*.jsonl"))
    return sorted(folder.glob("reviews/*/*.jsonl"))


def read_evalscope_review(path: Path) -> AnswerSet:
    """Read one benchmark's answers; of rows with the same index the last counts, as in evalscope.

    Raises:
        DataError: A file is damaged, or a score is neither 0 nor 1.
    """
    rows = [_valid(_Review, path, number, row) for number, row in read_rows(path)]
    reviews = {str(row.index): row for row in rows}
    predictions = _predictions(path)
    prompts = [_prompt(review) for review in reviews.values()]
    questions = without_shared_lines(prompts)
    groups = _groups(list(reviews.values()))
    answers = [
        _answer(path, review, predictions.get(key), question, group)
        for (key, review), question, group in zip(reviews.items(), questions, groups, strict=True)
    ]
    if unmarked := predictions.keys() - reviews.keys():
        raise DataError(
            f"{path}: {len(unmarked)} predictions have no review; a part of a run cannot be "
            "compared"
        )
    twice = len(rows) - len(reviews)
    return AnswerSet(
        tool=TOOL,
        benchmark=path.stem,
        answers=answers,
        settings=_settings(path),
        prompts={
            answer.id: hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:12]
            for answer, prompt in zip(answers, prompts, strict=True)
        },
        texts=any(answer.response for answer in answers),
        notes=(f"{path.name}: {twice} rows stand twice; the last one counts",) if twice else (),
    )


def _valid(model: type[_M], path: Path, number: int, row: object) -> _M:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise DataError(f"{path}:{number}: is no row of evalscope: {wrong}") from error


def _run_folder(review: Path) -> Path:
    """The folder that ``reviews`` lies in."""
    return review.resolve().parent.parent.parent


def _predictions(path: Path) -> dict[str, _Prediction]:
    file = _run_folder(path) / "predictions" / path.parent.name / path.name
    if not file.is_file():
        return {}
    rows = [_valid(_Prediction, file, number, row) for number, row in read_rows(file)]
    return {str(row.index): row for row in rows}


def _prompt(review: _Review) -> str:
    """What the user's side of the conversation said; of several turns all."""
    if review.input is not None:
        return review.input
    return "\n".join(_text(one.content) for one in review.messages if one.role != "assistant")


def _text(content: Any) -> str:  # noqa: ANN401 - a JSON value
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        str(part.get("text", ""))
        for part in parts
        if isinstance(part, Mapping) and part.get("type") == "text"
    )


def _groups(reviews: Sequence[_Review]) -> list[tuple[str, int]]:
    """Question and repeat of each row: evalscope numbers repeats of a question in one group."""
    seen: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    for review in reviews:
        score = review.sample_score
        group = str(review.index if score.group_id is None else score.group_id)
        at = seen.get(group, 0) if score.generation_index is None else score.generation_index
        seen[group] = seen.get(group, 0) + 1
        found.append((group, at))
    return found


def _answer(
    path: Path,
    review: _Review,
    prediction: _Prediction | None,
    question: str,
    place: tuple[str, int],
) -> Answer:
    score = review.sample_score.score
    output = None if prediction is None else prediction.model_output
    choice = output.choices[0] if output is not None and output.choices else None
    reason = None if choice is None else _REASONS.get(choice.stop_reason, choice.stop_reason)
    written = [one for one in review.messages if one.role == "assistant"]
    text = score.prediction or (_text(written[-1].content) if written else "")
    if not text and choice is not None:
        text = _text(choice.message.content)
    failed = not score.value or (output is not None and output.error is not None)
    made: Mark = "error"
    if not failed:
        made = mark(
            correct=_value(path, review) == 1,
            extracted=score.extracted_prediction or None,
            finish_reason="stop" if reason is None else reason,
        )
    usage = None if output is None else output.usage
    return Answer(
        id=place[0],
        repeat=place[1],
        mark=made,
        expected=_expected(review.target),
        extracted=score.extracted_prediction or None,
        finish_reason=reason,
        prompt_tokens=None,
        completion_tokens=None if usage is None else usage.output_tokens,
        started_at=None,
        ended_at=None,
        question=question,
        response=text,
    )


def _value(path: Path, review: _Review) -> float:
    score = review.sample_score.score
    name = score.main_score_name
    value = score.value[name] if name in score.value else next(iter(score.value.values()))
    if value not in {0, 1}:
        raise DataError(
            f"{path}: the score of {review.index} is {value!r}; only marks of right (1) and wrong "
            "(0) can be compared"
        )
    return value


def _expected(target: object) -> str:
    value = target[0] if isinstance(target, list) and target else target
    return "" if value is None else str(value).strip()


def _settings(path: Path) -> dict[str, Any]:
    """Of the run's configuration; empty where there is none."""
    files = sorted((_run_folder(path) / "configs").glob("task_config*.yaml"))
    if not files:
        return {}
    try:
        content = yaml.safe_load(files[-1].read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{files[-1]}: cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{files[-1]}: is no configuration of evalscope")
    settings = told(flat(content), not_settings=_NOT_SETTINGS, names=_NAMES)
    if "model" in settings:
        settings["model"] = model_name(settings["model"])
    return settings
