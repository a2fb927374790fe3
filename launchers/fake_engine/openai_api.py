"""The OpenAI endpoints, /v1/chat/completions and /v1/completions, streaming and not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from launchers.fake_engine.exchange import BadRequest, body_of, count, send_events
from launchers.fake_engine.generation import Ask, Generation, Generator

__all__ = ["OpenAI"]


class OpenAI:
    """The handlers of both endpoints; `model` is the name they answer under."""

    def __init__(self, generator: Generator, model: str) -> None:
        self._generator = generator
        self._model = model

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        arrived = asyncio.get_running_loop().time()
        body = await body_of(request)
        limit = body.get("max_completion_tokens")
        ask = _ask(body, _last_user_text(body), limit, arrived)
        return await self._answer(request, body, ask, chat=True)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions."""
        arrived = asyncio.get_running_loop().time()
        body = await body_of(request)
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
            prompt = prompt[0]
        if not prompt or not isinstance(prompt, str | list) or isinstance(prompt[0], list):
            raise BadRequest("prompt must be one text or one list of token ids")
        return await self._answer(request, body, _ask(body, prompt, None, arrived), chat=False)

    async def _answer(
        self, request: web.Request, body: dict[str, Any], ask: Ask, *, chat: bool
    ) -> web.StreamResponse:
        effect = self._generator.faults.meet(probe=ask.probe)
        if effect.fails:
            return web.json_response(error_body("told to fail", 500), status=500)
        made = self._generator.begin(ask, effect)
        if body.get("stream") is True:
            options = body.get("stream_options")
            usage = isinstance(options, dict) and options.get("include_usage") is True
            return await send_events(request, self._events(made, chat=chat, usage=usage))
        await self._generator.finish(made)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": made.finish}
        if chat:
            choice["message"] = {
                "role": "assistant",
                "content": made.text,
                "reasoning_content": None,
                "tool_calls": None,
            }
        else:
            choice["text"] = made.text
        head = self._head(made, chat=chat, chunk=False)
        return web.json_response(
            {**head, "choices": [choice], "usage": _usage(made, len(made.pieces))}
        )

    async def _events(self, made: Generation, *, chat: bool, usage: bool) -> AsyncIterator[bytes]:
        head = self._head(made, chat=chat, chunk=True)

        def event(text: str | None, finish: str | None, **delta: str) -> bytes:
            choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
            if chat:
                choice["delta"] = {**delta, "content": text}
            else:
                choice["text"] = "" if text is None else text
            return _event({**head, "choices": [choice], "usage": None})

        if chat:
            yield event("", None, role="assistant")
        async for done in self._generator.steps(made):
            yield event(made.pieces[done - 1], None)
        yield event(None, made.finish)
        if usage:
            yield _event({**head, "choices": [], "usage": _usage(made, len(made.pieces))})
        yield b"data: [DONE]\n\n"

    def _head(self, made: Generation, *, chat: bool, chunk: bool) -> dict[str, Any]:
        kind = "text_completion"
        if chat:
            kind = "chat.completion.chunk" if chunk else "chat.completion"
        return {"id": made.id, "object": kind, "created": int(time.time()), "model": self._model}


def error_body(message: str, code: int) -> dict[str, Any]:
    """An error as SGLang's OpenAI endpoints give it."""
    kind = "BadRequestError" if code == web.HTTPBadRequest.status_code else "InternalServerError"
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def _ask(body: dict[str, Any], prompt: str | list[int], limit: object, arrived: float) -> Ask:
    limit = body.get("max_tokens") if limit is None else limit
    if limit is not None and (type(limit) is not int or limit < 1):
        raise BadRequest(f"max_tokens must be a number of tokens, not {limit!r}")
    return Ask(
        prompt=prompt if isinstance(prompt, str) else "",
        prompt_tokens=count(prompt),
        max_tokens=limit if isinstance(limit, int) else None,
        ignore_eos=body.get("ignore_eos") is True,
        arrived=arrived,
    )


def _last_user_text(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list of at least one message")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                parts = [part.get("text", "") for part in content if isinstance(part, dict)]
                return "\n".join(str(part) for part in parts)
    raise BadRequest("no message of the user has a text")


def _usage(made: Generation, tokens: int) -> dict[str, Any]:
    prompt = made.ask.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "prompt_tokens_details": None,
        "reasoning_tokens": 0,
    }


def _event(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()
