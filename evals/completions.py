"""Questions asked without a chat template: /v1/completions behind sgl-eval's chat sampler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Completion

__all__ = ["ChatOverCompletions", "prompt_of"]


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
