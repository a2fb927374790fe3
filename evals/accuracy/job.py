"""The accuracy job: how a benchmark is asked, and what its answers say once they are there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from evals.accuracy import hub
from evals.accuracy.data import load_local, load_shots, shared_problem
from evals.accuracy.files import ANSWERS, PROGRESS, PROTOCOL
from evals.accuracy.outcome import read_cell
from evals.accuracy.prompts import PROMPTS, find_prompt, load_template
from evals.accuracy.questions import Question
from evals.accuracy.settings import BENCHMARKS, AccuracySettings, shots_path
from evals.files import DataError
from evals.job import Endpoint, JobSettings, Outcome, Progress

__all__ = ["ANSWERS", "BENCHMARKS", "PROTOCOL", "AccuracyJob", "AccuracySettings"]

_WITH_IMAGES = ("mmmu_pro", "mmmu_pro_vision")


class AccuracyJob:
    """Asks a benchmark's questions through sgl-eval and keeps every answer."""

    kind: str = "accuracy"
    settings_type: type[JobSettings] = AccuracySettings
    gated: tuple[str, ...] = ("score", "no_answer_rate", "truncated_rate")
    alone: bool = False

    def defaults(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The job's name is the benchmark unless the settings say another."""
        return {"benchmark": name, **settings}

    def resolve(self, settings: JobSettings, base: Path) -> AccuracySettings:
        """File names made absolute against `base`; names of prompts stay names."""
        ours = _ours(settings)
        changed: dict[str, Any] = {}
        for key in ("data", "shots", "prompt"):
            name = getattr(ours, key)
            is_file = key != "prompt" or _is_file_name(name)
            if name is not None and is_file:
                changed[key] = str((base / Path(name).expanduser()).resolve())
        return ours.model_copy(update=changed)

    def check(self, settings: JobSettings) -> list[str]:
        """See :meth:`evals.job.Job.check`; reads local data, asks no network."""
        ours = _ours(settings)
        if ours.benchmark not in BENCHMARKS:
            return [f"benchmark: unknown {ours.benchmark!r}; choose one of {', '.join(BENCHMARKS)}"]
        return [
            *_check_sampling(ours),
            *_check_data(ours),
            *_check_prompt(ours),
        ]

    def missing(self, settings: JobSettings) -> list[str]:
        """Access to a gated set; see :meth:`evals.job.Job.missing`."""
        ours = _ours(settings)
        if ours.data is None and ours.benchmark in hub.SETS:
            why = hub.access_problem(ours.benchmark)
            return [f"data: {why}"] if why else []
        return []

    def argv(self, settings: JobSettings, endpoint: Endpoint, cell: Path) -> list[str]:
        """The client, on servegate's own interpreter.

        ``-P`` keeps the current folder off the module path: users do have folders called evals.
        """
        return [
            sys.executable,
            "-P",
            "-m",
            "evals.accuracy.client",
            "--base-url",
            endpoint.base_url,
            "--model",
            endpoint.model,
            "--settings",
            _ours(settings).model_dump_json(),
            "--out",
            str(cell),
        ]

    def env(self, settings: JobSettings, endpoint: Endpoint) -> dict[str, str]:  # noqa: ARG002
        """No progress bars in the log, and lines there as they are written."""
        return {"TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}

    def progress(self, settings: JobSettings, cell: Path) -> Progress:
        """From the small file that the client renews; zero of all until it is there."""
        ours = _ours(settings)
        try:
            state = json.loads((cell / PROGRESS).read_text(encoding="utf-8"))
            done, total, correct = state["done"], state["total"], state["correct"]
        except (OSError, ValueError, KeyError):
            return Progress(done=0, total=(ours.examples or 0) * ours.repeats)
        note = f"{correct / done:.1%} correct" if done else ""
        return Progress(done=done, total=total, note=note)

    def read(self, settings: JobSettings, cell: Path, returncode: int) -> Outcome:
        """Ok only when every planned question and repeat is there once and errors are few."""
        return read_cell(cell, returncode, max_error_rate=_ours(settings).max_error_rate)


def _ours(settings: JobSettings) -> AccuracySettings:
    if not isinstance(settings, AccuracySettings):
        raise TypeError(f"expected AccuracySettings, got {type(settings).__name__}")
    return settings


def _is_file_name(name: str | None) -> bool:
    return name is not None and ("/" in name or name.endswith((".yaml", ".yml")))


def _check_sampling(settings: AccuracySettings) -> list[str]:
    problems = []
    if settings.repeats > 1 and settings.temperature == 0:
        problems.append(
            f"repeats: {settings.repeats} repeats at temperature 0 ask the same {settings.repeats} "
            "times; set a temperature above 0, or repeats 1"
        )
    if settings.seed is not None and settings.repeats > 1:
        problems.append(
            "seed: every repeat would be sampled with the same seed; leave it out, or set repeats 1"
        )
    if settings.api == "completion" and settings.chat_template_kwargs:
        problems.append(
            "chat_template_kwargs: a completion has no chat template; leave it out, or set api chat"
        )
    if settings.api == "completion" and settings.benchmark in _WITH_IMAGES:
        problems.append("api: a completion takes no images; set api chat")
    if any(not text for text in settings.stop):
        problems.append("stop: an empty text would end every answer at once; remove it")
    return problems


def _check_data(settings: AccuracySettings) -> list[str]:
    """Problems of the questions and of the worked examples, as far as local files tell."""
    problems: list[str] = []
    questions: list[Question] = []
    if settings.data is not None:
        if settings.benchmark in _WITH_IMAGES:
            return [f"data: {settings.benchmark} has images, which a local file cannot hold"]
        try:
            whole = load_local(
                settings.benchmark, Path(settings.data), choice_seed=settings.choice_seed
            )
            questions = whole.questions
            whole.chosen(settings.examples, settings.sample_seed)
        except DataError as error:
            problems.append(f"data: {error}")
    if settings.few_shot:
        problems += _check_shots(settings, questions)
    return problems


def _check_shots(settings: AccuracySettings, questions: list[Question]) -> list[str]:
    path = shots_path(settings)
    if path is None:
        if settings.benchmark == "gsm8k":
            return []
        return [f"shots: {settings.benchmark} has no worked examples of its own; give a file"]
    try:
        shots = load_shots(
            settings.benchmark, path, settings.few_shot, choice_seed=settings.choice_seed
        )
    except DataError as error:
        return [f"shots: {error}"]
    problem = shared_problem(shots, questions)
    return [] if problem is None else [f"shots: {problem}"]


def _check_prompt(settings: AccuracySettings) -> list[str]:
    name = PROMPTS.get(settings.benchmark) if settings.prompt is None else settings.prompt
    if name is None:
        if settings.few_shot:
            return ["prompt: few_shot needs a prompt with {examples} for this benchmark; give one"]
        return []
    try:
        template = load_template(find_prompt(name))
    except DataError as error:
        return [f"prompt: {error}"]
    if settings.few_shot and not template.takes_shots:
        problem = (
            f"few_shot: the prompt {name!r} has no place for worked examples; give a `prompt` "
            "with {examples} and few_shot_examples, or set few_shot 0"
        )
        return [problem]
    if settings.few_shot and settings.api == "completion" and not settings.stop:
        problem = (
            "stop: a completion with worked examples goes on with a question of its own behind "
            "the answer; give the text that begins one, here stop: "
            f"[{json.dumps(template.question_head or chr(10) * 2)}]"
        )
        return [problem]
    return []
