"""The full batch apart from its ramp, chunks, and goodput, on schedules with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evals.latency.full_batch import chunks, full_batch, start_times, window_metrics
from evals.latency.goodput import chunk_metrics, goodput_metrics
from evals.latency.settings import Goal


def _row(**changes: Any) -> dict[str, Any]:
    """Two slots, three requests: A and B from 0 s, C as soon as A has ended.

    A: token at 1 s, then 4 gaps of 0.10 s: ends at 1.4. B: token at 1.1 s, 8 gaps of 0.20 s: ends
    at 2.7. C starts at 1.4, token at 1.9, 8 gaps of 0.10 s: ends at 2.7. Both decode from 1.1 to
    1.4 and from 1.9 to 2.7.
    """
    return {
        "request_rate": float("inf"),
        "duration": 2.75,
        "ttfts": [1.0, 1.1, 0.5],
        "itls": [_gaps(1.0, 0.10, 4), _gaps(1.1, 0.20, 8), _gaps(1.9, 0.10, 8)],
        "errors": ["", "", ""],
        **changes,
    }


def _gaps(first: float, gap: float, count: int) -> list[float]:
    """Gaps as clocks give them: differences of times, so that no two are the same to the bit."""
    noise = 1e-12 * np.arange(1, count + 1)
    return [float(gap + one) for one in noise]


def test_start_times_follow_from_the_order_of_the_queue() -> None:
    starts, problem = start_times(_row(), 2)
    assert problem == ""
    assert starts == pytest.approx([0.0, 0.0, 1.4])


def test_start_times_that_were_written_down_are_taken() -> None:
    assert start_times(_row(start_times=[0, 0.5, 3]), 2) == ([0.0, 0.5, 3.0], "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"request_rate": 2.0}, "came at a rate"), ({"duration": 9.0}, "the run took 9.000 s")],
)
def test_start_times_are_not_guessed(changes: dict[str, Any], message: str) -> None:
    starts, problem = start_times(_row(**changes), 2)
    assert starts == []
    assert message in problem


def test_the_full_batch_has_the_gaps_that_lie_in_it_and_no_others() -> None:
    window, problem = full_batch(_row(), 2)
    assert (problem, window is None) == ("", False)
    assert window is not None
    # A: 1.1 to 1.4, three gaps. B: 1.1-1.3 in the first span, 1.9-2.7 in the second: 1 + 4.
    # C: all eight.
    assert sorted(window.steady.round(3).tolist()) == [0.1] * 11 + [0.2] * 5
    assert window.ramp.size == 20 - 16
    assert window.seconds == pytest.approx(0.3 + 0.8)
    assert window.steps == 8
    found = window_metrics(window)
    assert found["steady_itl_ms"] == pytest.approx(100)
    assert found["steady_p90_gap_ms"] == pytest.approx(200)
    assert found["steady_throughput"] == pytest.approx(16 / 1.1)


def test_a_batch_that_is_never_full_has_no_window() -> None:
    apart = _row(start_times=[0, 5, 10])
    assert full_batch(apart, 2) == (None, "never were 2 requests decoding at once")
    short = _row(ttfts=[1.0, 1.3], itls=[_gaps(1.0, 0.1, 4), _gaps(1.3, 0.1, 9)], errors=["", ""])
    short["duration"] = 2.2
    assert "full for 1 decode steps" in full_batch(short, 2)[1]


def test_a_chunk_of_tokens_is_one_event() -> None:
    """Three tokens after 60 ms, one after 30 ms, two after 50 ms, as the benchmark writes it."""
    pace, count = chunks([0.02, 0.02, 0.02, 0.03, 0.025, 0.025])
    assert pace.tolist() == [0.02, 0.03, 0.025]
    assert count.tolist() == [3, 1, 2]
    assert chunks([])[0].size == 0
    row = {"itls": [[0.02, 0.02, 0.02, 0.03, 0.025, 0.025], []], "accept_length": 2.5}
    assert chunk_metrics(row) == {"tokens_per_event": 2.0, "accept_length": 2.5}


def test_percentiles_of_the_full_batch_are_by_event() -> None:
    """One request, four tokens an event: a token every 10 ms, a wait of 40 ms each."""
    gaps = [value for k in range(10) for value in [0.01 + k * 1e-12] * 4]
    row = {"request_rate": "inf", "duration": 0.5, "ttfts": [0.1], "itls": [gaps], "errors": [""]}
    window, _ = full_batch(row, 1)
    assert window is not None
    assert (window.steps, window.tokens) == (10, 40)
    found = window_metrics(window)
    assert found["steady_itl_ms"] == pytest.approx(10)
    assert found["steady_p99_gap_ms"] == pytest.approx(40)


@pytest.mark.parametrize(
    ("goal", "good"),
    [
        (Goal(ttft_ms=1050), 2),  # B's first token comes after 1100 ms
        (Goal(tpot_ms=150), 2),  # B's tokens take 200 ms
        (Goal(e2e_ms=1350), 1),  # A takes 1.4 s, B 2.7 s, C 1.3 s
        (Goal(ttft_ms=600, tpot_ms=150, e2e_ms=2000), 1),
        (Goal(ttft_ms=10), 0),
    ],
)
def test_goodput_counts_requests_that_keep_every_time(goal: Goal, good: int) -> None:
    found = goodput_metrics(_row(), goal)
    assert found["goodput"] == pytest.approx(good / 2.75)
    assert found["slo_attainment"] == pytest.approx(100 * good / 3)


def test_a_failed_request_is_never_good() -> None:
    found = goodput_metrics(_row(errors=["", "", "boom"]), Goal(e2e_ms=1e6))
    assert found["slo_attainment"] == pytest.approx(100 * 2 / 3)


def test_a_goal_that_asks_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of"):
        Goal()
