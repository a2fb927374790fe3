"""The summary of a benchmark run from its requests, with the names and formulas of SGLang's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from evals.bench_http import Generated

__all__ = ["percentile", "result"]


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
