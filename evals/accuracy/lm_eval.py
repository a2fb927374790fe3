"""Answers that lm-evaluation-harness kept with ``--log_samples``.

``samples_<task>_<date>.jsonl`` has a line for each document and filter, ``results_<date>.json``
the settings (lm_eval 0.4.13: loggers/evaluation_tracker.py and evaluator.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from evals.accuracy.answer_set import AnswerSet, without_shared_lines
from evals.accuracy.grades import mark
from evals.files import DataError, read_document, read_rows
from evals.job import Answer
from evals.told_settings import flat, model_name, told

__all__ = ["TOOL", "read_lm_eval_samples", "sample_files"]

TOOL = "lm-evaluation-harness"
_SAMPLES = re.compile(r"^samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.\-]+)\.jsonl$")
# Where documents of the harness's tasks have their question.
_QUESTIONS = ("question", "Question", "problem", "Problem", "query", "input", "prompt")
_ANSWER = "####"

# Of results_*.json. What a task asks shows in its samples: prompts, targets, parameters.
_NOT_SETTINGS = (
    r"(results|groups|group_subtasks|higher_is_better|n-samples|task_hashes|samples)(\..*)?",
    r"git_hash|upper_git_hash|date|start_time|end_time|total_evaluation_time_seconds",
    r"pretty_env_info|transformers_version|model_name(_sanitized)?|model_source|n-shot|eval_hash",
    r"chat_template|system_instruction_sha",
    r"config\.(batch_size|batch_sizes|device|use_cache|limit|bootstrap_iters|model_args)",
    r"config\.(model_num_parameters)",
    r"model_args\.(base_url|max_retries|timeout|tokenizer_backend|batch_size|api_key|device)",
    r"task\.(task|task_alias|tag|group|dataset_kwargs|metric_list|filter_list|metadata\..*)",
    r"task\.(higher_is_better|process_docs|process_results|fewshot_config\.(sampler|samples))",
    r"task\.(generation_kwargs|should_decontaminate|.*_split|description_file|unsafe_code)(\..*)?",
)
_NAMES = {
    "config.": "",
    "config.model": "api",
    "config.gen_kwargs": "gen_kwargs",
    "config.gen_kwargs.": "gen_kwargs.",
    "model_args.": "",
    "model_args.model": "model",
    "model_args.pretrained": "model",
    "model_args.num_concurrent": "concurrency",
    "versions": "task_version",
    "lm_eval_version": "lm_eval",
    "chat_template_sha": "chat_template",
    "system_instruction": "system",
    "generation.until": "stop",
    "generation.max_gen_toks": "max_tokens",
    "generation.": "",
    "task.": "task.",
    "task.num_fewshot": "few_shot",
    "task.repeats": "repeats",
}


class _Row(BaseModel):
    model_config = ConfigDict(extra="allow")

    doc_id: int | str
    doc: dict[str, Any]
    target: Any
    arguments: Any
    resps: list[Any]
    filter: str = "none"
    metrics: list[str] | None = None


def sample_files(folder: Path) -> list[Path]:
    """The sample files in a folder, or in the folders of models below it."""
    direct = [path for path in folder.iterdir() if _SAMPLES.match(path.name)]
    below = [path for path in folder.glob("*/samples_*.jsonl") if _SAMPLES.match(path.name)]
    return sorted(direct or below)


def read_lm_eval_samples(path: Path) -> list[AnswerSet]:
    """One set for each filter: the harness marks an answer once with each of a task's filters.

    Raises:
        DataError: The file is damaged or a part of a run, a document stands twice, or the marks
            are not right or wrong.
    """
    named = _SAMPLES.match(path.name)
    if named is None:
        raise DataError(f"{path}: is not named samples_TASK_DATE.jsonl as the harness names it")
    rows = [_row(path, number, row) for number, row in read_rows(path)]
    results = _results(path, named["date"])
    filters = list(dict.fromkeys(row.filter for row in rows))
    sets: list[AnswerSet] = []
    for name in filters:
        own = [row for row in rows if row.filter == name]
        ids = [str(row.doc_id) for row in own]
        if len(set(ids)) < len(ids):
            raise DataError(f"{path}: a document stands twice with filter {name}")
        _demand_all(path, results, named["task"], len(own))
        sets.append(_set(path, named["task"], own, results, first=name == filters[0]))
    return sets


def _row(path: Path, number: int, row: object) -> _Row:
    try:
        return _Row.model_validate(row)
    except ValidationError as error:
        wrong = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise DataError(f"{path}:{number}: is no sample of the harness: {wrong}") from error


def _results(path: Path, date: str) -> dict[str, Any]:
    """The results beside the samples; empty where the file is not there."""
    file = path.with_name(f"results_{date}.json")
    if not file.is_file():
        return {}
    content = read_document(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: is no results file of the harness")
    return content


def _demand_all(path: Path, results: Mapping[str, Any], task: str, count: int) -> None:
    planned = flat(results).get(f"n-samples.{task}.effective")
    if planned is not None and planned != count:
        raise DataError(
            f"{path}: holds {count} documents, and its results file says {planned}; a part of a "
            "run cannot be compared"
        )


def _set(
    path: Path, task: str, rows: Sequence[_Row], results: Mapping[str, Any], *, first: bool
) -> AnswerSet:
    metric = _metric(path, rows[0])
    prompts = [_prompt(row) for row in rows]
    questions = _questions(rows, prompts)
    texts = all(_is_text(row) for row in rows)
    answers = [
        _answer(path, row, question, metric) for row, question in zip(rows, questions, strict=True)
    ]
    marking = metric if rows[0].filter == "none" else f"{metric}, {rows[0].filter}"
    samples = max(len(row.resps[0]) if _is_text(row) else 1 for row in rows)
    return AnswerSet(
        tool=TOOL,
        benchmark=task,
        answers=answers,
        settings=_settings(rows, results, task),
        prompts={
            answer.id: hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:12]
            for answer, prompt in zip(answers, prompts, strict=True)
        },
        texts=texts,
        marking=marking,
        first_marking=first,
        notes=(f"{samples} samples a question; the first one's text is shown",)
        if samples > 1
        else (),
    )


def _metric(path: Path, row: _Row) -> str:
    extra = row.model_extra or {}
    names = row.metrics or [name for name in ("exact_match", "acc") if name in extra]
    if not names or names[0] not in extra:
        raise DataError(f"{path}: its samples have no metric of their own")
    return names[0]


def _prompt(row: _Row) -> str:
    """What the model saw: the first argument of the first request."""
    first = _first_request(row)
    return first if isinstance(first, str) else json.dumps(first, ensure_ascii=False)


def _first_request(row: _Row) -> Any:  # noqa: ANN401 - a JSON value
    request = _request(row)
    if isinstance(request, Mapping):
        return request.get("arg_0", "")
    return request[0] if isinstance(request, list) and request else ""


def _request(row: _Row) -> Any:  # noqa: ANN401 - a JSON value
    """Arguments of the first request; a list of lists before lm_eval 0.4.4, a mapping since."""
    values = row.arguments
    if isinstance(values, Mapping):
        return values.get("gen_args_0", {})
    return values[0] if isinstance(values, list) and values else []


def _questions(rows: Sequence[_Row], prompts: Sequence[str]) -> list[str]:
    name = next((one for one in _QUESTIONS if isinstance(rows[0].doc.get(one), str)), None)
    if name is None or not all(isinstance(row.doc.get(name), str) for row in rows):
        return without_shared_lines(prompts)
    return [row.doc[name] + _choices(row.doc) for row in rows]


def _choices(doc: Mapping[str, Any]) -> str:
    """Lettered choices where the document keeps them apart from the question."""
    choices = doc.get("choices")
    if not isinstance(choices, list) or not all(isinstance(one, str) for one in choices):
        return ""
    lines = [f"{chr(ord('A') + at)}) {text.strip()}" for at, text in enumerate(choices)]
    return "\n\n" + "\n".join(lines)


def _is_text(row: _Row) -> bool:
    """Whether the model wrote an answer; for choices by likelihood there are pairs instead."""
    samples = row.resps[0] if row.resps else None
    return (
        len(row.resps) == 1
        and isinstance(samples, list)
        and bool(samples)
        and all(isinstance(one, str) for one in samples)
    )


def _answer(path: Path, row: _Row, question: str, metric: str) -> Answer:
    value = (row.model_extra or {}).get(metric)
    if not isinstance(value, (int, float)) or value not in {0, 1}:
        raise DataError(
            f"{path}: {metric} of document {row.doc_id} is {value!r}; only marks of right (1) "
            "and wrong (0) can be compared"
        )
    text = row.resps[0][0] if _is_text(row) else ""
    filtered = (row.model_extra or {}).get("filtered_resps")
    picked = filtered[0] if isinstance(filtered, list) and filtered else None
    extracted = picked if isinstance(picked, str) and picked != "[invalid]" else None
    return Answer(
        id=str(row.doc_id),
        repeat=0,
        mark=mark(
            correct=value == 1,
            extracted=extracted if _is_text(row) else "choice",
            finish_reason="stop",
        ),
        expected=_expected(row.target),
        extracted=extracted,
        finish_reason=None,
        prompt_tokens=None,
        completion_tokens=None,
        started_at=None,
        ended_at=None,
        question=question,
        response=text,
    )


def _expected(target: object) -> str:
    """The right answer; GSM8K's has the whole solution before it."""
    value = target[0] if isinstance(target, list) and target else target
    return str(value).rpartition(_ANSWER)[2].strip()


def _settings(rows: Iterable[_Row], results: Mapping[str, Any], task: str) -> dict[str, Any]:
    first = next(iter(rows))
    request = _request(first)
    values = request.get("arg_1") if isinstance(request, Mapping) else None
    config = results.get("config")
    arguments = config.get("model_args") if isinstance(config, Mapping) else None
    plain = {key: value for key, value in results.items() if key not in _OF_TASKS}
    settings = told(
        flat(plain)
        | flat({"task": _of_task(results, "configs", task)})
        | flat({"versions": _of_task(results, "versions", task)})
        | flat({"n-shot": _of_task(results, "n-shot", task)})
        | flat({"generation": values if isinstance(values, Mapping) else {}})
        | flat({"model_args": _model_args(arguments)}),
        not_settings=_NOT_SETTINGS,
        names=_NAMES,
    )
    for name in ("model", "tokenizer"):
        if name in settings:
            settings[name] = model_name(settings[name])
    return settings


_OF_TASKS = frozenset({"configs", "versions", "n-shot"})


def _of_task(results: Mapping[str, Any], key: str, task: str) -> Any:  # noqa: ANN401 - a JSON value
    values = results.get(key)
    return values.get(task) if isinstance(values, Mapping) else None


def _model_args(value: object) -> dict[str, Any]:
    """``model=x,num_concurrent=8`` or a mapping, as versions write it."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, str):
        return {}
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
