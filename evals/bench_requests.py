"""What one run of the benchmark gives beside its own summary, from the times of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evals.bench_goodput import chunk_metrics, goodput_metrics
from evals.bench_window import Window, full_batch, window_metrics
from evals.latency_settings import Goal

__all__ = ["request_metrics"]


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
    }
