"""Plain HTTP questions to one SGLang server, from the standard library alone."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

__all__ = ["greedy", "post"]


def post(base_url: str, path: str, body: dict[str, Any], timeout_s: float = 120.0) -> Any:  # noqa: ANN401
    """The JSON that a POST of `body` answered with, or its text where it is none.

    Raises:
        OSError: No connection, an HTTP error, or no answer in time.
    """
    request = urllib.request.Request(  # noqa: S310 - http to a server that we started
        base_url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
        text = answer.read().decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


def greedy(base_url: str, ids: list[int], tokens: int) -> dict[str, Any]:
    """Greedy continuation of token ids: `meta_info` of SGLang's /generate, all log-probabilities.

    Raises:
        OSError: As :func:`post`.
    """
    body = {
        "input_ids": ids,
        "sampling_params": {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True},
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": 2,
    }
    found: dict[str, Any] = post(base_url, "/generate", body)["meta_info"]
    return found
