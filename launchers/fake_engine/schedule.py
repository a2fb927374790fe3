"""When each token of a request is due, and how it is cut into tokens."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from launchers.fake_engine.settings import FakeSettings

__all__ = ["Pace", "tokens"]

_FILLER = " a"
_LEAST_FACTOR = 0.1  # a gap or a launch that jitter would make negative


class Pace:
    """The due times of one server's life; a request's jitter follows from its number alone."""

    def __init__(self, settings: FakeSettings) -> None:
        self._settings = settings
        draw = random.Random(f"launch {settings.launch_seed}")  # noqa: S311 - no secret
        self.launch_factor = max(_LEAST_FACTOR, draw.gauss(1.0, settings.launch_jitter))

    def due(self, request: int, *, measured: bool) -> Iterator[float]:
        """Seconds after arrival at which token 0, 1, 2, ... is due.

        They are sums of gaps, not of waits: a late token does not delay the next one.
        """
        told = self._settings
        if not measured:
            at, gap, jitter = told.answer_ttft_ms / 1e3, told.answer_itl_ms / 1e3, 0.0
        else:
            at, gap, jitter = (
                told.ttft_ms / 1e3,
                told.itl_ms / 1e3 * self.launch_factor,
                told.jitter,
            )
        draw = random.Random(f"request {told.launch_seed} {request}")  # noqa: S311 - no secret
        while True:
            yield at
            at += gap * max(_LEAST_FACTOR, draw.gauss(1.0, jitter)) if jitter else gap


def tokens(text: str, limit: int, *, endless: bool) -> list[str]:
    """At most `limit` pieces of `text`, a word each; if `endless`, exactly so many."""
    pieces = re.findall(r"\s*\S+", text)[:limit]
    return pieces + [_FILLER] * (limit - len(pieces)) if endless else pieces
