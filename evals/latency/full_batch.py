"""What a run's requests say beyond the benchmark's summary: the full batch apart from its ramp."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window", "chunks", "full_batch", "start_times", "window_metrics"]

_Floats = NDArray[np.float64]

# Start times that were worked out must give the run's length; the client's own work between
# requests, and behind the last of them, is a few hundredths of it.
_LARGEST_MISFIT = 0.1
# A window of fewer decode steps than this has no median to speak of.
_LEAST_STEPS = 4
_ROUNDING = 1e-9  # seconds: sums of the same gaps in another order


@dataclass(frozen=True, kw_only=True)
class Window:
    """The gaps between tokens of one run, sorted by whether all of the batch was decoding.

    Attributes:
        steady: Seconds a token, of gaps that lie wholly in the full batch, one for each token.
        ramp: The same of all other gaps.
        steady_chunks: Seconds from event to event in the full batch, each once.
        seconds: Time for which the batch was full.
        tokens: Tokens that came in that time.
        steps: Events in it for each slot of the batch: its decode steps.
    """

    steady: _Floats
    ramp: _Floats
    steady_chunks: _Floats
    seconds: float
    tokens: int
    steps: int


def chunks(gaps: Sequence[float]) -> tuple[_Floats, NDArray[np.int64]]:
    """Events of one request from its gaps: seconds a token, and tokens, of each event.

    SGLang's benchmark divides the time between two events by the tokens that the later one brings
    and writes the quotient down once for each of them (serving.py 0.5.23, 781-797: speculative
    decoding, ``--stream-interval``). A run of equal values is therefore one event: clocks of
    nanoseconds do not give the same gap twice.
    """
    values = np.asarray(gaps, dtype=np.float64)
    if values.size == 0:
        return values, np.zeros(0, dtype=np.int64)
    first = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return values[first], np.diff(np.r_[first, values.size])


def start_times(row: Mapping[str, Any], concurrency: int) -> tuple[list[float], str]:
    """Seconds after the run's begin at which each request was sent; or why that is not known.

    The benchmark does not write it down. Where all requests are given out at once it follows from
    how it works: a semaphore, first come first served, so that a request is sent as soon as one of
    those before it has ended. Held against the run's own duration.

    Args:
        row: One run, as ``--output-details`` writes it.
        concurrency: Requests kept in flight.

    Returns:
        The times, and ""; or no times, and a reason.
    """
    told = row.get("start_times")
    if isinstance(told, list) and len(told) == len(row["ttfts"]):
        return [float(start) for start in told], ""
    if row.get("request_rate") not in (None, math.inf, "inf"):
        return [], "requests came at a rate, and the benchmark does not say when"
    ends: list[float] = []
    starts: list[float] = []
    for ttft, gaps in zip(row["ttfts"], row["itls"], strict=True):
        start = 0.0 if len(ends) < concurrency else heapq.heappop(ends)
        starts.append(start)
        heapq.heappush(ends, start + ttft + math.fsum(gaps))
    last = max(
        start + ttft + math.fsum(gaps)
        for start, ttft, gaps in zip(starts, row["ttfts"], row["itls"], strict=True)
    )
    if not abs(last - row["duration"]) <= _LARGEST_MISFIT * row["duration"]:
        return [], (
            f"its requests would have ended after {last:.3f} s and the run took "
            f"{row['duration']:.3f} s, so when each was sent cannot be worked out"
        )
    return starts, ""


def full_batch(row: Mapping[str, Any], concurrency: int) -> tuple[Window | None, str]:
    """The window of one run; or why there is none.

    The batch is full while ``concurrency`` requests have had their first and not yet their last
    token. Gaps in it are decode steps of the whole batch and nothing else: the first gap of a
    request, which may hold the prefill of others, is outside by construction.
    """
    starts, problem = start_times(row, concurrency)
    if problem:
        return None, problem
    requests = [chunks(gaps) for gaps in row["itls"]]
    first = np.array(starts) + np.array(row["ttfts"], dtype=np.float64)
    last = first + np.array([float(pace @ count) for pace, count in requests])
    spans = _full_spans(first, last, concurrency)
    if not spans:
        return None, f"never were {concurrency} requests decoding at once"
    inside: list[_Floats] = []
    outside: list[_Floats] = []
    events: list[_Floats] = []
    for begin, (pace, count) in zip(first, requests, strict=True):
        until = begin + np.cumsum(pace * count)
        since = np.r_[begin, until[:-1]]
        full = np.zeros(pace.size, dtype=bool)
        for low, high in spans:
            full |= (since >= low - _ROUNDING) & (until <= high + _ROUNDING)
        inside.append(np.repeat(pace[full], count[full]))
        outside.append(np.repeat(pace[~full], count[~full]))
        events.append((pace * count)[full])
    steps = sum(one.size for one in events) // concurrency
    if steps < _LEAST_STEPS:
        return None, f"the batch was full for {steps} decode steps; raise output_len"
    steady = np.concatenate(inside)
    return Window(
        steady=steady,
        ramp=np.concatenate(outside),
        steady_chunks=np.concatenate(events),
        seconds=math.fsum(high - low for low, high in spans),
        tokens=steady.size,
        steps=steps,
    ), ""


def _full_spans(first: _Floats, last: _Floats, concurrency: int) -> list[tuple[float, float]]:
    """Times from the last of ``concurrency`` first tokens to the first end among them."""
    # Ends before beginnings at the same time: two requests in one slot are not two at once.
    moves = sorted([(t, 1) for t in first.tolist()] + [(t, -1) for t in last.tolist()])
    spans: list[tuple[float, float]] = []
    decoding, since = 0, 0.0
    for at, move in moves:
        if decoding == concurrency and move == -1 and at > since:
            spans.append((since, at))
        decoding += move
        if decoding == concurrency:
            since = at
    return spans


def window_metrics(window: Window) -> dict[str, float]:
    """Metrics of the full batch, in ms and tokens a second."""
    paces = 1000 * window.steady
    found = {"steady_itl_ms": float(np.median(paces))}
    for percent in (90, 95, 99):
        # By event, not by token: a chunk of four tokens is one wait, not four.
        gaps = 1000 * window.steady_chunks
        found[f"steady_p{percent}_gap_ms"] = float(np.percentile(gaps, percent))
    if window.seconds > 0:
        found["steady_throughput"] = window.tokens / window.seconds
    return found
