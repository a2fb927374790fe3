"""A sampler that tells a failed request from a server that is gone, and then stops the run."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from sgl_eval.runner import WorkerAborted
from sgl_eval.types import GenConfig, MessageList, Sample

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Completion


class ChatOverCompletions:
    """What sgl-eval's sampler needs of an OpenAI client, asking for plain completions.

    The sampler (sgl-eval 0.1.3, sampler.py) keeps its retries, its abort and its reading of a
    response; only ``client.chat.completions.create`` is another request.
    """

    def __init__(self, client: OpenAI) -> None:
        self._client = client
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))

    def _create(
        self,
        *,
        messages: list[dict[str, Any]],
        **settings: Any,  # noqa: ANN401 - whatever the sampler asks of the openai client
    ) -> SimpleNamespace:
        made = self._client.completions.create(prompt=prompt_of(messages), **settings)
        return _as_chat(made)


def prompt_of(messages: list[dict[str, Any]]) -> str:
    """The texts of all messages, in order, an empty line between them.

    Raises:
        ValueError: A message is not plain text (an image): completions take none.
    """
    texts = [message["content"] for message in messages]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a completion takes plain text only; ask with api: chat")
    return "\n\n".join(texts)


def _as_chat(made: Completion) -> SimpleNamespace:
    choice = made.choices[0]
    message = SimpleNamespace(content=choice.text, reasoning_content=None)
    return SimpleNamespace(
        choices=[SimpleNamespace(message=message, finish_reason=choice.finish_reason)],
        usage=made.usage,
    )


# A server that answers nothing but errors is as useless as a dead one: this many requests in a
# row, from any thread, without one usable response between them.
_ERRORS_IN_A_ROW = 50
_CONNECT_TRIES = 3
_CONNECT_PAUSE_S = 0.5
_CONNECT_TIMEOUT_S = 2.0


class Sampler(Protocol):
    """What is needed of sgl-eval's ChatCompletionSampler."""

    def __call__(self, messages: MessageList, gen: GenConfig | None = None) -> Sample:
        """Ask once; ``finish_reason`` is ``error`` when no try gave a response."""
        ...

    def abort(self) -> None:
        """Wake and end all requests of all threads."""
        ...


class GuardedSampler:
    """Asks through another sampler and gives the run up when the server is gone.

    sgl-eval's sampler turns every failure into an empty sample, which its graders mark wrong: a
    server that died at question 10 would score the other 1309 as wrong answers, slowly. Here a
    failed request is followed by a look whether the server still listens, and if it does not
    (or after many failures in a row) every thread stops through sgl-eval's own WorkerAborted.

    Attributes:
        reason: Why the run was given up; empty while it was not.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        alive: Callable[[], bool],
        on_give_up: Callable[[str], None],
    ) -> None:
        self._sampler = sampler
        self._alive = alive
        self._on_give_up = on_give_up
        self._lock = threading.Lock()
        self._errors_in_a_row = 0
        self.reason = ""

    def __call__(self, messages: MessageList, gen: GenConfig | None = None) -> Sample:
        """Ask once.

        Raises:
            WorkerAborted: The server is gone; sgl-eval's runner then drops the sample.
        """
        if self.reason:
            raise WorkerAborted
        sample = self._sampler(messages, gen)
        if sample.finish_reason != "error":
            self._errors_in_a_row = 0
            return sample
        self._note_error()
        if self.reason:
            raise WorkerAborted
        return sample

    def _note_error(self) -> None:
        with self._lock:  # one look at a time is enough, and the first verdict stands
            if self.reason:
                return
            self._errors_in_a_row += 1
            if not self._alive():
                self._give_up("the server no longer accepts connections")
            elif self._errors_in_a_row >= _ERRORS_IN_A_ROW:
                self._give_up(f"{self._errors_in_a_row} requests in a row failed")

    def _give_up(self, reason: str) -> None:
        self.reason = reason
        self._on_give_up(reason)
        self._sampler.abort()


def listens(base_url: str) -> bool:
    """Whether something accepts TCP connections there; asked three times within a second."""
    url = urlsplit(base_url)
    port = url.port if url.port is not None else (443 if url.scheme == "https" else 80)
    for attempt in range(_CONNECT_TRIES):
        if attempt:
            time.sleep(_CONNECT_PAUSE_S)
        try:
            with socket.create_connection((url.hostname or "", port), _CONNECT_TIMEOUT_S):
                return True
        except OSError:
            continue
    return False
