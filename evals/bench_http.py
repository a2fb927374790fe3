"""One streaming /generate request over a plain socket, with the time of every token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Generated", "generate"]

_LINE_LIMIT = 10 * 2**20  # bytes; events hold the whole text so far
_MOST_ERROR_TEXT = 2000


@dataclass
class Generated:
    """What one request gave; times in seconds, as in SGLang's RequestFuncOutput."""

    success: bool = False
    error: str = ""
    text: str = ""
    output_len: int = 0
    start_time: float = 0.0
    ttft: float = 0.0
    latency: float = 0.0
    itl: list[float] = field(default_factory=list)


async def generate(base_url: str, prompt: list[int], max_new_tokens: int) -> Generated:
    """Ask for exactly `max_new_tokens` tokens at temperature 0; failures become ``error``."""
    body = {
        "input_ids": prompt,
        "sampling_params": {
            "temperature": 0.0,
            "max_new_tokens": max_new_tokens,
            "ignore_eos": True,
        },
        "stream": True,
    }
    made = Generated(start_time=time.perf_counter())
    try:
        await _stream(base_url, json.dumps(body).encode(), made)
        made.success = True
    except (OSError, ValueError, KeyError, asyncio.IncompleteReadError) as error:
        made.error = f"{type(error).__name__}: {error}"
    return made


async def _stream(base_url: str, body: bytes, made: Generated) -> None:
    url = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(
        url.hostname, url.port if url.port is not None else 80, limit=_LINE_LIMIT
    )
    try:
        head = (
            f"POST /generate HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        status, chunked = await _read_head(reader)
        lines = _lines(_chunks(reader) if chunked else _rest(reader))
        if status != 200:
            text = b"\n".join([line async for line in lines]).decode("utf-8", "replace")
            raise ValueError(f"HTTP {status}: {text[:_MOST_ERROR_TEXT]}")
        await _take_events(lines, made)
    finally:
        writer.close()


async def _take_events(lines: AsyncIterator[bytes], made: Generated) -> None:
    """Token times by the rule of SGLang's async_request_sglang_generate.

    A gap is the time between two events with text, divided by the tokens that the later one
    adds and counted once for each of them; the first event with text sets the TTFT.
    """
    latest, tokens, finished = made.start_time, 0, False
    async for line in lines:
        event = line.removeprefix(b"data: ").strip()
        if not event:
            continue
        now = time.perf_counter()
        made.latency = now - made.start_time
        if event == b"[DONE]":
            finished = True
            continue
        data: dict[str, Any] = json.loads(event)
        if not data.get("text"):
            if "error" in data:
                raise ValueError(str(data["error"]))
            continue
        made.text, made.output_len = data["text"], data["meta_info"]["completion_tokens"]
        new = made.output_len - tokens
        if made.ttft == 0.0:
            made.ttft = now - made.start_time
        elif new > 0:
            made.itl.extend([(now - latest) / new] * new)
        else:
            continue
        latest, tokens = now, made.output_len
    if not finished:
        raise ValueError("the stream ended before [DONE]")


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status, and whether the body is chunked; the body of the others ends with the connection."""
    status_line = (await reader.readline()).split(b" ", 2)
    if len(status_line) < 2 or not status_line[1].isdigit():
        raise ValueError("the server closed the connection without an HTTP response")
    chunked = False
    while (header := await reader.readline()).strip():
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"transfer-encoding":
            chunked = b"chunked" in value.lower()
    return int(status_line[1]), chunked


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)  # the line end behind a chunk


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(65536):
        yield piece


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines out of pieces that may end anywhere."""
    held = b""
    async for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line
    if held:
        yield held
