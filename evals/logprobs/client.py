"""The process that asks for log-probabilities and writes each trail down as it comes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from math import isfinite
from pathlib import Path
from typing import Any

import requests

from evals.client import arguments, keep_failure, session
from evals.files import DataError
from evals.logprobs.trails import TRAILS, LogprobsSettings, Text, Trail, load_texts

__all__ = ["main", "trail_of"]

EXIT_OK, EXIT_BAD_DATA, EXIT_ERRORS = 0, 2, 3


def main(given: Sequence[str] | None = None) -> int:
    """Ask every text; returns the exit code (0 all answered, 2 bad data, 3 a request failed)."""
    options = arguments("logprobs_client", __doc__, given)
    cell = Path(options.out)
    settings = LogprobsSettings.model_validate_json(options.settings)
    try:
        texts = load_texts(settings.data)
    except DataError as error:
        return _fail(cell, "bad-data", str(error), EXIT_BAD_DATA)
    return _ask_all(options.base_url, settings, texts, cell)


def _ask_all(base_url: str, settings: LogprobsSettings, texts: Sequence[Text], cell: Path) -> int:
    """Repeat after repeat, each in an order of its own, so that batches differ between them."""
    with (
        (cell / TRAILS).open("xb", buffering=0) as file,
        ThreadPoolExecutor(settings.concurrency) as pool,
    ):
        for repeat in range(settings.repeats):
            ordered = texts if repeat % 2 == 0 else texts[::-1]
            asked = {pool.submit(_ask, base_url, settings, text, repeat): text for text in ordered}
            for future in as_completed(asked):
                try:
                    trail = future.result()
                except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                    pool.shutdown(cancel_futures=True)
                    reason = f"{asked[future].id}: {type(error).__name__}: {error}"
                    return _fail(cell, "errors", reason, EXIT_ERRORS)
                file.write(trail.model_dump_json().encode() + b"\n")
    return EXIT_OK


def _ask(base_url: str, settings: LogprobsSettings, text: Text, repeat: int) -> Trail:
    body = {
        "text": text.text,
        "sampling_params": {
            "temperature": 0.0,
            "max_new_tokens": settings.steps,
            "ignore_eos": True,
        },
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": settings.top,
    }
    with session() as http:
        answer = http.post(
            f"{base_url}/generate", json=body, timeout=(10, settings.request_timeout_s)
        )
    if answer.status_code != requests.codes.ok:
        raise ValueError(f"HTTP {answer.status_code}: {answer.text[:200]}")
    return trail_of(answer.json()["meta_info"], text.id, repeat, steps=settings.steps)


def trail_of(meta: dict[str, Any], text: str, repeat: int, *, steps: int) -> Trail:
    """A trail from `meta_info` as SGLang fills it (0.5.23, managers/tokenizer_manager.py).

    `output_token_logprobs` and `input_token_logprobs` are lists of [logprob, token, text], the
    first of the input without a logprob; `output_top_logprobs` has such a list for each step.

    Raises:
        ValueError: Fewer steps than asked for, lists that do not belong together, or a decoded
            token whose log-probability is no finite number.
    """
    taken = [(float(value), int(token)) for value, token, *_ in meta["output_token_logprobs"]]
    top = [
        [(int(token), float(value)) for value, token, *_ in step]
        for step in meta["output_top_logprobs"]
    ]
    if len(taken) != steps or len(top) != steps:
        raise ValueError(f"asked for {steps} steps, got {len(taken)} tokens and {len(top)} lists")
    if wrong := [step for step, (value, _) in enumerate(taken, start=1) if not isfinite(value)]:
        raise ValueError(f"no finite log-probability at step {wrong[0]} of {steps}")
    return Trail(
        id=text,
        repeat=repeat,
        prefill=[float(value) for value, *_ in meta["input_token_logprobs"] if value is not None],
        tokens=[token for _, token in taken],
        logprobs=[value for value, _ in taken],
        top=top,
    )


def _fail(cell: Path, failure_class: str, reason: str, code: int) -> int:
    keep_failure(cell, failure_class, reason)
    return code


if __name__ == "__main__":
    sys.exit(main())
