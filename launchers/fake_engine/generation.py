"""One request's tokens, from the prompt to the last of them, each when it is due."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from launchers.fake_engine.answers import AnswerBook, reply
from launchers.fake_engine.faults import Effect, Faults
from launchers.fake_engine.schedule import Pace, tokens
from launchers.fake_engine.settings import FakeSettings
from launchers.fake_engine.witness import Witnesses

__all__ = ["Ask", "Generation", "Generator"]

_ANSWER_LIMIT = 2048  # tokens, where a request sets no limit


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a request asks for, whichever endpoint it came by."""

    prompt: str
    prompt_tokens: int
    max_tokens: int | None
    ignore_eos: bool
    arrived: float  # on the event loop's clock

    @property
    def probe(self) -> bool:
        """True for a request of one token: somebody looks whether the server is ready."""
        return self.max_tokens == 1


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The tokens that a request gets, and why there are no more."""

    ask: Ask
    pieces: list[str]
    finish: str  # "stop" or "length", as OpenAI and SGLang name it
    number: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


class Generator:
    """What the endpoints share: answers, pace, faults and witnesses of one server."""

    def __init__(self, settings: FakeSettings, book: AnswerBook, witnesses: Witnesses) -> None:
        self.faults = Faults(settings.faults)
        self.pace = Pace(settings)
        self.settings = settings
        self._book = book
        self._witnesses = witnesses
        self._number = 0

    def begin(self, ask: Ask, effect: Effect) -> Generation:
        """Choose the tokens of a request."""
        self._number += 1
        pieces, finish = self._choose(ask, effect)
        return Generation(ask=ask, pieces=pieces, finish=finish, number=self._number)

    async def steps(self, generation: Generation) -> AsyncIterator[int]:
        """Yield the count of tokens that are there, each as it becomes due."""
        ask = generation.ask
        loop = asyncio.get_running_loop()
        due = self.pace.due(generation.number, measured=ask.ignore_eos)
        for count, at in zip(range(1, len(generation.pieces) + 1), due, strict=False):
            wait_s = ask.arrived + at - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await self.faults.stall()
            yield count
        self._witnesses.served()

    async def finish(self, generation: Generation) -> None:
        """Wait until the last token is due."""
        async for _ in self.steps(generation):
            pass

    def _choose(self, ask: Ask, effect: Effect) -> tuple[list[str], str]:
        if effect.output != "as told":
            return [""] if effect.output == "empty" else [], "stop"
        limit = _ANSWER_LIMIT if ask.max_tokens is None else ask.max_tokens
        said = reply(self.settings, self._book.find(ask.prompt))
        endless = said.endless or ask.ignore_eos
        whole = tokens(said.text, _ANSWER_LIMIT, endless=False)
        pieces = tokens(said.text, limit, endless=endless)
        return pieces, "length" if endless or len(whole) > limit else "stop"
