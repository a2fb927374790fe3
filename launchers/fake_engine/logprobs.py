"""Log-probabilities that repeat: drawn by the prompt and the position, as told by the settings."""

from __future__ import annotations

import hashlib
from typing import Any

from launchers.fake_engine.settings import FakeSettings

__all__ = ["logprobs_info"]

_TOKEN_ID = 264
_GAP = 0.5  # nats between one of the likeliest tokens and the next


def logprobs_info(settings: FakeSettings, prompt: str, tokens: int, top: int) -> dict[str, Any]:
    """The fields of `meta_info` that SGLang adds for return_logprob, for `tokens` decoded tokens.

    The first token is prefill's, as in SGLang; only the others have `logprob_shift` and the noise.
    """
    inputs: list[list[Any]] = [[None, 1, None]]
    inputs += [[-_draw(prompt, "in", n), n + 2, None] for n in range(len(prompt.split()) - 1)]
    taken = [_of(settings, prompt, step) for step in range(tokens)]
    return {
        "input_token_logprobs": inputs,
        "output_token_logprobs": [[value, _TOKEN_ID, None] for value in taken],
        "output_top_logprobs": [
            [[value - _GAP * rank, _TOKEN_ID + rank, None] for rank in range(top)]
            for value in taken
        ],
    }


def _of(settings: FakeSettings, prompt: str, step: int) -> float:
    value = -_draw(prompt, "out", step)
    if step == 0:
        return value
    noise = 2 * _draw(prompt, "noise", settings.launch_seed, step) - 1
    return value - settings.logprob_shift - settings.logprob_noise * noise


def _draw(*of: object) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    text = "\x00".join(map(str, of)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48
