"""The process that asks a benchmark's questions and writes each answer down as it comes."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from evals.accuracy.answer_log import AnswerLog
from evals.accuracy.data import DataSet
from evals.accuracy.early_stop import end_when_told
from evals.accuracy.files import ANSWERS, FAILURE, SUMMARY
from evals.accuracy.marking.marker import KINDS
from evals.accuracy.protocol import prepare
from evals.accuracy.questions import Question
from evals.accuracy.resume import carried
from evals.accuracy.samplers import ChatOverCompletions
from evals.accuracy.settings import AccuracySettings
from evals.files import DataError, write_whole
from evals.job import Answer

if TYPE_CHECKING:
    from sgl_eval.sampler import ChatCompletionSampler
    from sgl_eval.types import Example, GenConfig

__all__ = ["main"]

EXIT_OK, EXIT_BAD_DATA, EXIT_SERVER_GONE = 0, 2, 3
_LAST_WAIT_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, mark, write; returns the exit code (0 all asked, 2 bad data, 3 server gone)."""
    options = _parse(arguments)
    cell = Path(options.out)
    settings = AccuracySettings.model_validate_json(options.settings)
    if (cell / ANSWERS).exists():
        sys.stderr.write(f"accuracy client: {cell / ANSWERS} is already there; nothing is asked\n")
        return EXIT_BAD_DATA
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_at_once)
    try:
        data, prompt = prepare(settings, cell)
    except DataError as error:
        return _fail(cell, "bad-data", str(error), EXIT_BAD_DATA)
    if settings.stages > 1:
        end_when_told(cell)
    given_up = _ask(settings, data, prompt, options, cell)
    return EXIT_SERVER_GONE if given_up else EXIT_OK


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evals.accuracy.client", description=__doc__)
    parser.add_argument("--base-url", required=True, help="http://host:port of the server")
    parser.add_argument("--model", required=True, help="the served model's name")
    parser.add_argument("--settings", required=True, help="AccuracySettings as JSON")
    parser.add_argument("--out", required=True, help="folder of the cell")
    return parser.parse_args(arguments)


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """Every answer is already on disk in one write, so nothing is lost by not unwinding."""
    os._exit(128 + number)


def _fail(cell: Path, failure_class: str, reason: str, code: int) -> int:
    sys.stderr.write(f"accuracy client: {reason}\n")
    write_whole(cell / FAILURE, json.dumps({"class": failure_class, "reason": reason}))
    return code


def _ask(
    settings: AccuracySettings,
    data: DataSet,
    prompt: Path | None,
    options: argparse.Namespace,
    cell: Path,
) -> bool:
    """Run sgl-eval over the questions; True when the server was given up."""
    from sgl_eval.runner import run_examples

    from evals.accuracy.asking import aggregate_of, asking
    from evals.accuracy.samplers import GuardedSampler, listens

    guard = GuardedSampler(
        _sampler(settings, options),
        alive=lambda: listens(options.base_url),
        on_give_up=lambda reason: _server_gone(cell, f"{reason} ({options.base_url})"),
    )
    levels = {question.id: question.level for question in data.questions}
    kept = carried(cell)
    total = len(data.questions) * settings.repeats
    kind = KINDS[settings.benchmark]
    with AnswerLog(cell, kind=kind, total=total, levels=levels, kept=kept) as log:
        if len(kept) == total:
            return False
        examples, names = _to_ask(data, settings.repeats, kept)
        repeats = 1 if kept else settings.repeats
        result = run_examples(
            settings.benchmark,
            examples,
            asking(settings.benchmark, guard, _gen_config(settings), prompt),
            log.mark,
            num_threads=settings.concurrency,
            n_repeats=repeats,
            aggregate_fn=aggregate_of(repeats),
            on_sample_scored=log.named(names),
        )
    if not kept:  # of a part of the samples it would say something else
        summary = {"aggregate": result.aggregate, "latency_s": result.latency}
        write_whole(cell / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return bool(guard.reason)


def _to_ask(
    data: DataSet, repeats: int, kept: Sequence[Answer]
) -> tuple[list[Example], dict[str, tuple[str, int]]]:
    """What sgl-eval is to ask, and question and repeat behind each id where those are not its own.

    sgl-eval asks every example equally often. Where some answers are there already, each missing
    one becomes an example of its own, asked once.
    """
    if not kept:
        return [_example(question) for question in data.questions], {}
    there = {(one.id, one.repeat) for one in kept}
    examples: list[Example] = []
    names: dict[str, tuple[str, int]] = {}
    for question in data.questions:
        for repeat in range(repeats):
            if (question.id, repeat) not in there:
                name = f"{question.id}#{repeat}"
                names[name] = (question.id, repeat)
                examples.append(replace(_example(question), id=name))
    return examples, names


def _server_gone(cell: Path, reason: str) -> None:
    """Note why, and make the end sure: a thread may hang in a request that nothing can wake."""
    _fail(cell, "server-dead", reason, EXIT_SERVER_GONE)
    timer = threading.Timer(_LAST_WAIT_S, lambda: os._exit(EXIT_SERVER_GONE))
    timer.daemon = True
    timer.start()


def _example(question: Question) -> Example:
    """A question as sgl-eval's Example; those that sgl-eval loaded bring their own."""
    from sgl_eval.types import Example

    from evals.accuracy.sgl_eval import ShippedQuestion

    if isinstance(question, ShippedQuestion):
        return question.example
    return Example(id=question.id, inputs={"problem": question.problem}, target=question.expected)


def _gen_config(settings: AccuracySettings) -> GenConfig:
    from sgl_eval.types import GenConfig

    extra: dict[str, Any] = {}
    if settings.top_k is not None:
        extra["top_k"] = settings.top_k
    if settings.stop:
        extra["stop"] = settings.stop
    return GenConfig(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        min_p=settings.min_p,
        chat_template_kwargs=settings.chat_template_kwargs or None,
        extra_body=extra or None,
        seed=settings.seed,
        system_message=settings.system,
    )


def _sampler(settings: AccuracySettings, options: argparse.Namespace) -> ChatCompletionSampler:
    import httpx
    from sgl_eval.sampler import ChatCompletionSampler

    sampler = ChatCompletionSampler(
        base_url=f"{options.base_url}/v1",
        model=options.model,
        api_key=os.environ.get("OPENAI_API_KEY", "EMPTY"),
        max_retries=settings.retries + 1,  # sgl-eval counts tries
    )
    # The openai client would add two silent tries of its own to each of these.
    client = sampler.client.with_options(
        max_retries=0, timeout=httpx.Timeout(settings.request_timeout_s, connect=10)
    )
    sampler.client = ChatOverCompletions(client) if settings.api == "completion" else client
    return sampler


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    started = time.monotonic()
    code = main()
    sys.stderr.write(f"accuracy client: done in {time.monotonic() - started:.1f} s, exit {code}\n")
    sys.exit(code)
