"""Which requests of a run kept what they were to keep, and what else each of them says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.latency.full_batch import Window, chunks, full_batch, window_metrics
from evals.latency.settings import Goal


def goodput_metrics(row: Mapping[str, Any], goal: Goal) -> dict[str, float]:
    """Good requests a second, and the percentage of requests that were good.

    A request is good when it keeps every time that the goal names (goodput as in Y. Zhong et al.,
    DistServe, OSDI 2024, and ``--goodput`` of vLLM's benchmark). Its TPOT is the mean over its
    tokens after the first. A failed request is never good.

    Args:
        row: One run, as ``--output-details`` writes it.
        goal: Times in ms.
    """
    good = 0
    errors = row["errors"]
    for index, (ttft, gaps) in enumerate(zip(row["ttfts"], row["itls"], strict=True)):
        failed = index < len(errors) and bool(errors[index])
        good += not failed and _kept(1000 * ttft, 1000 * math.fsum(gaps), len(gaps), goal)
    asked = len(row["ttfts"])
    return {
        "goodput": good / row["duration"],
        "slo_attainment": 100 * good / asked if asked else 0.0,
    }


def _kept(ttft_ms: float, decode_ms: float, gaps: int, goal: Goal) -> bool:
    limits = (
        (goal.ttft_ms, ttft_ms),
        (goal.tpot_ms, decode_ms / gaps if gaps else 0.0),
        (goal.e2e_ms, ttft_ms + decode_ms),
    )
    return all(limit is None or value <= limit for limit, value in limits)


def chunk_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Tokens an event, and with speculative decoding the accepted tokens a step.

    Above one token an event an ITL is a quotient: with speculative decoding it changes with what
    is accepted, so that arms with other acceptance differ in it whatever their kernels take.
    """
    events = sum(chunks(gaps)[0].size for gaps in row["itls"])
    tokens = sum(len(gaps) for gaps in row["itls"])
    found = {"tokens_per_event": tokens / events} if events else {}
    accepted = row.get("accept_length")
    if isinstance(accepted, (int, float)) and math.isfinite(accepted) and accepted > 0:
        found["accept_length"] = float(accepted)
    return found


_KEPT = 0.95


def request_metrics(
    row: Mapping[str, Any], concurrency: int, goal: Goal | None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics by name, and the size of the full batch for a reader, or why there was none.

    Args:
        row: One run, as ``--output-details`` writes it.
        concurrency: Requests that were kept in flight.
        goal: What a request must keep to be good.
    """
    window, problem = full_batch(row, concurrency)
    found = {} if window is None else window_metrics(window)
    found |= {} if goal is None else goodput_metrics(row, goal)
    return found | chunk_metrics(row), _told(window, problem)


def _trimmed_mean(events: NDArray[np.float64]) -> float:
    """The mean without the longest 5 %: one stall of the server says nothing about the client."""
    kept = np.sort(events)[: max(1, int(_KEPT * events.size))]
    return float(np.mean(kept))


def _told(window: Window | None, problem: str) -> dict[str, Any]:
    if window is None:
        return {"problem": problem}
    ramp = 1000 * float(np.median(window.ramp)) if window.ramp.size else None
    return {
        "seconds": window.seconds,
        "decode_steps": window.steps,
        "gaps": window.tokens,
        "ramp_gaps": int(window.ramp.size),
        "ramp_itl_ms": ramp,
        "step_median_ms": 1000 * float(np.median(window.steady_chunks)),
        "step_mean_ms": 1000 * _trimmed_mean(window.steady_chunks),
    }
