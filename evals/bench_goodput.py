"""Which requests of a run kept what they were to keep, and what else each of them says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evals.bench_window import chunks
from evals.latency_settings import Goal

__all__ = ["chunk_metrics", "goodput_metrics"]


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
