"""Reading a request and sending a stream: what both generation APIs need."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

__all__ = ["BadRequest", "body_of", "count", "send_events"]


class BadRequest(Exception):
    """A request that SGLang answers with HTTP 400."""


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request; BadRequest if it is none."""
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def count(prompt: str | list[Any]) -> int:
    """Tokens of a prompt: exact for token ids, and the number of words for a text."""
    return max(1, len(prompt.split()) if isinstance(prompt, str) else len(prompt))


async def send_events(request: web.Request, events: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send server-sent events, each as soon as it is there."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    try:
        async for event in events:
            await response.write(event)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the client has gone; SGLang aborts the request as well
    return response
