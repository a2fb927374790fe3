"""A light stand-in for SGLang's serving benchmark, for the fake engine on machines without SGLang.

It sends the same requests (POST /generate, streaming, token ids), takes the same times and writes
the same JSON fields as ``sglang.benchmark.serving`` 0.5.23, from the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.bench_http import Generated, generate
from evals.bench_stats import result

__all__ = ["main"]

_VOCABULARY = 32000
_WARMUP_TOKENS = 32  # serving.py: warm-up requests are no longer than this
_HTTP_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark --runs times; exit code 1 when the warm-up fails."""
    options = _parse(arguments)
    for run in range(1, options.runs + 1):
        row = asyncio.run(_measure(options))
        file = Path(options.output.replace("{run}", str(run)))
        with file.open("a", encoding="utf-8") as out:  # appended to, as SGLang's is
            out.write(json.dumps(row) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evals.bench_client", description=__doc__)
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


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
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
    started = time.perf_counter()
    tasks = []
    for index in range(options.prompts):
        tasks.append(asyncio.create_task(ask(index, outputs[index])))
        if options.request_rate != math.inf:
            await asyncio.sleep(rng.expovariate(options.request_rate))
    answers = await asyncio.gather(*tasks)
    duration = time.perf_counter() - started
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
