"""A protocol is all that decides what is asked and how: loaded, checked and written beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from evals.accuracy.data import DataSet, load_local, load_real, load_shots, shared_problem
from evals.accuracy.files import PROMPT, PROTOCOL, Protocol
from evals.accuracy.marking.marker import CORRECTIONS, marker
from evals.accuracy.prompts import PROMPTS, find_prompt, load_template, with_shots
from evals.accuracy.settings import AccuracySettings, shots_path
from evals.files import DataError, digest, write_whole

__all__ = ["prepare", "protocol_digest"]

# All that may move a score, and nothing of where files lie: the key to comparing two cells.
_DIGESTED = (
    "benchmark",
    "questions_digest",
    "repeats",
    "concurrency",
    "generation",
    "prompt",
    "sgl_eval",
    "grader",
)


def prepare(settings: AccuracySettings, cell: Path) -> tuple[DataSet, Path | None]:
    """Questions and prompt of the job, with protocol.json and prompt.yaml written.

    Raises:
        DataError: Something of it cannot be loaded.
    """
    data = _load(settings).chosen(settings.examples, settings.sample_seed)
    if settings.stages > 1:
        data = data.shuffled(settings.sample_seed)
    config = _prompt(settings, data)
    path: Path | None = None
    if config is not None:
        path = cell / PROMPT
        write_whole(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    protocol = _protocol(settings, data, config)
    write_whole(cell / PROTOCOL, protocol.model_dump_json(indent=1) + "\n")
    return data, path


def _load(settings: AccuracySettings) -> DataSet:
    name, seed = settings.benchmark, settings.choice_seed
    if settings.data is not None:
        return load_local(name, Path(settings.data), choice_seed=seed)
    if name in PROMPTS:
        return load_real(name, choice_seed=seed)
    from evals.accuracy.sgl_eval import load_shipped

    return load_shipped(name)


def _prompt(settings: AccuracySettings, data: DataSet) -> dict[str, Any] | None:
    """The prompt's content with worked examples; None leaves it to sgl-eval."""
    name = PROMPTS.get(settings.benchmark) if settings.prompt is None else settings.prompt
    if name is None:
        return None
    shots = (
        load_shots(
            settings.benchmark,
            shots_path(settings),
            settings.few_shot,
            choice_seed=settings.choice_seed,
        )
        if settings.few_shot
        else []
    )
    if problem := shared_problem(shots, data.questions):
        raise DataError(f"shots: {problem}")
    return with_shots(load_template(find_prompt(name)), shots)


def _generation(settings: AccuracySettings) -> dict[str, Any]:
    keys = (
        "api",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "stop",
        "seed",
        "system",
        "chat_template_kwargs",
    )
    return {key: getattr(settings, key) for key in keys}


def _protocol(settings: AccuracySettings, data: DataSet, prompt: dict[str, Any] | None) -> Protocol:
    import sgl_eval

    content: dict[str, Any] = {
        "benchmark": settings.benchmark,
        "source": data.source,
        "data_sha256": data.sha256,
        "rows": data.rows,
        "examples": len(data.questions),
        "repeats": settings.repeats,
        "concurrency": settings.concurrency,
        "generation": _generation(settings),
        "few_shot": settings.few_shot,
        "prompt": "sgl-eval's own" if prompt is None else json.dumps(prompt, ensure_ascii=False),
        "sgl_eval": sgl_eval.__version__,
        "grader": marker(),
        "corrections": list(CORRECTIONS),
        "ids_digest": data.ids_digest(),
        "questions_digest": data.questions_digest(),
        "ids": [question.id for question in data.questions],
    }
    return Protocol(**content, protocol_digest=protocol_digest(content))


def protocol_digest(content: dict[str, Any]) -> str:
    """The sha256 over all of a protocol that can move a score, the server left out."""
    return digest({key: content[key] for key in _DIGESTED})
