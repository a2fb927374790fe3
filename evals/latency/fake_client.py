"""A light stand-in for SGLang's serving benchmark, for the fake engine on machines without SGLang.

It sends the same requests (POST /generate, streaming, token ids), takes the same times and writes
the same JSON fields as ``sglang.benchmark.serving`` 0.5.23, from the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from evals.latency.loop_lag import LoopLag

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


def result(answers: Sequence[Generated], inputs: Sequence[int], duration: float) -> dict[str, Any]:
    """The fields that ``sglang.benchmark.serving`` 0.5.23 writes with --output-details.

    Sources: calculate_metrics and the end of benchmark() there. Times in ms, the ``itls`` and
    ``ttfts`` lists in seconds. Without a completed request the summaries are 0.

    Args:
        answers: One for each request.
        inputs: Prompt lengths in tokens, in the same order.
        duration: Seconds from the first request to the last answer.
    """
    done = [answer for answer in answers if answer.success]
    total_input = sum(n for n, answer in zip(inputs, answers, strict=True) if answer.success)
    total_output = sum(answer.output_len for answer in done)
    latencies = [answer.latency for answer in done]
    pooled = {
        "ttft": [answer.ttft for answer in done],
        "tpot": [
            (answer.latency - answer.ttft) / (answer.output_len - 1)
            for answer in done
            if answer.output_len > 1
        ],
        "itl": [gap for answer in done for gap in answer.itl],
        "e2e_latency": latencies,
    }
    row: dict[str, Any] = {
        "duration": duration,
        "completed": len(done),
        "total_input_tokens": total_input,
        "total_output_tokens": total_output,
        "request_throughput": len(done) / duration,
        "input_throughput": total_input / duration,
        "output_throughput": total_output / duration,
        "total_throughput": (total_input + total_output) / duration,
        "concurrency": sum(latencies) / duration,
    }
    for name, values in pooled.items():
        row.update(_summary(name, values))
    began = min((answer.start_time for answer in answers), default=0.0)
    return row | {
        "input_lens": list(inputs),
        "output_lens": [answer.output_len if answer.success else 0 for answer in answers],
        # SGLang's does not write when it sent a request; seconds after the first of them.
        "start_times": [answer.start_time - began for answer in answers],
        "ttfts": [answer.ttft for answer in answers],
        "itls": [answer.itl for answer in answers],
        "generated_texts": [answer.text for answer in answers],
        "errors": [answer.error for answer in answers],
    }


def _summary(name: str, seconds: Sequence[float]) -> dict[str, float]:
    values = [1000 * value for value in seconds] if seconds else [0.0]
    found = {
        f"mean_{name}_ms": statistics.fmean(values),
        f"median_{name}_ms": statistics.median(values),
        f"std_{name}_ms": statistics.pstdev(values),
    }
    for percent in (90, 95, 99):
        found[f"p{percent}_{name}_ms"] = percentile(values, percent)
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear interpolation between order statistics, as numpy.percentile does by default."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


_VOCABULARY = 32000
_WARMUP_TOKENS = 32  # serving.py: warm-up requests are no longer than this
_HTTP_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark --runs times; exit code 1 when the warm-up fails."""
    options = _parse(arguments)
    lag = LoopLag()
    for run in range(1, options.runs + 1):
        row = asyncio.run(_measure(options, lag))
        file = Path(options.output.replace("{run}", str(run)))
        lag.write(file.with_suffix(".lag.json"))
        with file.open("a", encoding="utf-8") as out:  # appended to, as SGLang's is
            out.write(json.dumps(row) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evals.latency.fake_client", description=__doc__
    )
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--input-len", type=int, required=True)
    parser.add_argument("--output-len", type=int, required=True)
    parser.add_argument("--range-ratio", type=float, default=1.0)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--request-rate", type=float, default=math.inf)
    parser.add_argument("--warmup-requests", type=int, default=1)
    parser.add_argument("--flush-cache", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--output", required=True, help="file, with {run} for the run's number")
    return parser.parse_args(arguments)


async def _measure(options: argparse.Namespace, lag: LoopLag) -> dict[str, Any]:
    """One run: warm-up, flush, then all requests with at most --concurrency in flight."""
    rng = random.Random(options.seed)  # noqa: S311  prompts, not secrets
    inputs = [_length(rng, options.input_len, options.range_ratio) for _ in range(options.prompts)]
    outputs = [
        _length(rng, options.output_len, options.range_ratio) for _ in range(options.prompts)
    ]
    offsets = [rng.randrange(_VOCABULARY) for _ in range(options.prompts)]
    slots = asyncio.Semaphore(options.concurrency)

    async def ask(index: int, most: int) -> Generated:
        prompt = [(offsets[index] + index + j) % _VOCABULARY for j in range(inputs[index])]
        async with slots:
            return await generate(options.base_url, prompt, most)

    warmups = [ask(0, min(outputs[0], _WARMUP_TOKENS)) for _ in range(options.warmup_requests)]
    warmed = await asyncio.gather(*warmups)
    if warmed and not any(one.success for one in warmed):
        raise SystemExit(f"warm-up failed: {warmed[0].error}")
    if options.flush_cache:
        await asyncio.to_thread(_post, f"{options.base_url}/flush_cache")
    with contextlib.suppress(OSError):  # then nobody knows, and the record says so
        lag.start()
    started = time.perf_counter()
    tasks = []
    for index in range(options.prompts):
        tasks.append(asyncio.create_task(ask(index, outputs[index])))
        if options.request_rate != math.inf:
            await asyncio.sleep(rng.expovariate(options.request_rate))
    answers = await asyncio.gather(*tasks)
    duration = time.perf_counter() - started
    lag.stop()
    about = {
        "servegate_client": "evals.bench_client",
        "backend": "sglang",
        "dataset_name": "random-ids",
        "request_rate": options.request_rate,
        "max_concurrency": options.concurrency,
        "random_input_len": options.input_len,
        "random_output_len": options.output_len,
        "random_range_ratio": options.range_ratio,
        "server_info": await asyncio.to_thread(_get, f"{options.base_url}/server_info"),
    }
    return {**about, **result(answers, inputs, duration)}


def _length(rng: random.Random, full: int, ratio: float) -> int:
    """Uniform in [ratio x full, full], as ``compute_random_lens`` of SGLang's datasets."""
    return rng.randint(max(int(full * ratio), 1), full)


def _post(url: str) -> None:
    request = urllib.request.Request(url, method="POST", data=b"")  # noqa: S310  http, our own
    with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S) as response:  # noqa: S310
        response.read()


def _get(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S) as response:  # noqa: S310
            return json.loads(response.read())
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    raise SystemExit(main())
