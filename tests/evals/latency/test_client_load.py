"""A client that did not keep up is told by its own lag and by the times that it reports."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from evals.job import Outcome
from evals.latency.client_load import LOAD_CLASSES, STARVED, kept_problem
from evals.latency.outcome import Asked, bench_file, lag_file, read_cell

LAG = {"samples": 400, "median_ms": 0.07, "p99_ms": 9.0, "max_ms": 20.0, "cpu_share": 0.2}


def row(gaps: list[float], *, slots: int = 4, ttft: float = 0.05) -> dict[str, Any]:
    """As many requests as fit at once, all with these gaps in seconds."""
    count = len(gaps) + 1
    paces = sorted(1000 * gap for gap in gaps)
    mean = 1000 * math.fsum(gaps) / len(gaps)
    seconds = ttft + math.fsum(gaps)
    return {
        "backend": "sglang", "request_rate": math.inf, "duration": seconds, "completed": slots,
        "total_output_tokens": slots * count, "median_itl_ms": paces[len(paces) // 2],
        "p99_itl_ms": paces[-1], "median_tpot_ms": mean, "median_ttft_ms": 1000 * ttft,
        "median_e2e_latency_ms": 1000 * seconds, "output_throughput": slots * count / seconds,
        "request_throughput": slots / seconds, "output_lens": [count] * slots,
        "ttfts": [ttft] * slots, "itls": [gaps] * slots, "errors": [""] * slots,
    }  # fmt: skip


def read(cell: Path, *rows: dict[str, Any], lags: tuple[float, ...] = (), skip: int = 0) -> Outcome:
    for number, one in enumerate(rows, start=1):
        bench_file(cell, number).write_text(json.dumps(one) + "\n", encoding="utf-8")
    for number, mean in enumerate(lags, start=1):
        text = json.dumps({**LAG, "mean_ms": mean})
        lag_file(cell, number).write_text(text, encoding="utf-8")
    tokens = rows[0]["total_output_tokens"]
    asked = Asked(prompts=4, output_tokens=tokens, concurrency=4)
    return read_cell(cell, 0, runs=len(rows), skip=skip, asked=asked)


def steps(count: int = 63, ms: float = 12.0) -> list[float]:
    """Decode steps that scatter by a few percent."""
    return [ms / 1000 * (1 + 0.03 * math.sin(number)) for number in range(count)]


def chunked(tokens: list[int], ms: float = 20.0) -> list[float]:
    """Gaps where a step brings several tokens, as the benchmark writes them."""
    every = [step / many for step, many in zip(steps(len(tokens), ms), tokens, strict=True)]
    return [gap for gap, many in zip(every, tokens, strict=True) for gap in [gap] * many]


def test_streams_that_were_read_at_once_are_a_starved_client(tmp_path: Path) -> None:
    """One late read a stream, then all that had come meanwhile: a TPOT of 27 ms, an ITL of none."""
    late = [0.4] + [9.8e-6 + 1e-9 * number for number in range(14)]
    outcome = read(tmp_path, row(late))
    assert outcome.metrics["median_itl_ms"] < 0.01
    assert outcome.metrics["median_tpot_ms"] > 26
    assert (outcome.status, outcome.failure_class) == ("invalid", STARVED)
    assert STARVED in LOAD_CLASSES
    assert "93% of the events were read within 0.2 ms of the one before" in outcome.reason


def test_itl_and_tpot_that_do_not_agree_while_the_whole_batch_decodes(tmp_path: Path) -> None:
    """Reads in bursts of four whose members are a millisecond apart."""
    bursts = [0.045 if number % 4 == 0 else 0.001 + 1e-8 * number for number in range(64)]
    outcome = read(tmp_path, row(bursts))
    assert outcome.failure_class == STARVED
    assert "ITL and TPOT do not agree" in outcome.reason
    assert "median time between events is 1 ms and their mean 10.2 ms" in outcome.reason


@pytest.mark.parametrize(
    "gaps",
    [
        steps(),
        chunked([8] * 20),  # --stream-interval 8
        chunked([1] * 12 + [4] * 12),  # speculative decoding, accepted well or not at all
        chunked([1, 8] * 16),
        chunked([1] * 3 + [9] * 2 + [2] * 25),
        [1.7, *steps(22)],  # the server stands still once
        [*steps(50), 0.00012, 0.00013, *steps(12)],  # two hiccups
    ],
    ids=["plain", "interval", "speculative", "by turns", "long", "stall", "hiccups"],
)
def test_what_chunking_and_prefill_explain_is_no_starved_client(
    tmp_path: Path, gaps: list[float]
) -> None:
    outcome = read(tmp_path, row(gaps), lags=(0.2,))
    assert (outcome.status, outcome.reason) == ("ok", "")
    (load,) = outcome.details["client_load"]
    assert load["lag"]["mean_ms"] == 0.2


def test_a_prefill_of_others_shows_in_tpot_and_not_in_the_full_batch(tmp_path: Path) -> None:
    """Four prompts one after the other: the first one's second token waits for three prefills."""
    made = row(steps(40))
    made["itls"] = [[0.8 * (3 - slot) + 0.012, *steps(39)] for slot in range(4)]
    made["ttfts"] = [0.8 * (slot + 1) for slot in range(4)]
    made["median_tpot_ms"] = 1000 * sorted(math.fsum(gaps) / 40 for gaps in made["itls"])[2]
    made["duration"] = made["ttfts"][0] + math.fsum(made["itls"][0])
    outcome = read(tmp_path, made, lags=(0.3,))
    assert outcome.metrics["median_tpot_ms"] > 2.5 * outcome.metrics["median_itl_ms"]
    assert (outcome.status, outcome.reason) == ("ok", "")


@pytest.mark.parametrize(("mean_ms", "status"), [(2.9, "ok"), (3.2, "invalid")])
def test_lag_is_held_against_the_itl_that_the_client_reports(
    tmp_path: Path, mean_ms: float, status: str
) -> None:
    """A quarter of 12 ms is 3 ms."""
    outcome = read(tmp_path, row(steps()), lags=(mean_ms,))
    assert outcome.status == status
    if status == "invalid":
        assert outcome.failure_class == STARVED
        assert "3.2 ms late on average, 27% of the median ITL of 12 ms" in outcome.reason


def test_a_run_that_is_dropped_may_be_starved_and_no_other(tmp_path: Path) -> None:
    rows = [row(steps())] * 3
    assert read(tmp_path, *rows, lags=(50.0, 0.1, 0.1), skip=1).status == "ok"
    outcome = read(tmp_path, *rows, lags=(0.1, 0.1, 50.0), skip=1)
    assert outcome.reason.startswith("run 3: the client's event loop was 50 ms late")


def test_a_file_that_no_client_wrote_is_a_lag_that_was_not_sampled(tmp_path: Path) -> None:
    for text in ("", "[]", '{"mean_ms": "much"}', json.dumps({**LAG, "mean_ms": None})):
        lag_file(tmp_path, 1).write_text(text, encoding="utf-8")
        outcome = read(tmp_path, row(steps()))
        assert outcome.status == "ok"
        assert outcome.details["client_load"][0]["lag"] is None


def test_another_fault_of_a_starved_run_gives_the_cell_its_class(tmp_path: Path) -> None:
    empty = row(steps())
    empty["ttfts"], empty["itls"] = [0.0, *empty["ttfts"][1:]], [[], *empty["itls"][1:]]
    assert read(tmp_path, empty, lags=(50.0,)).failure_class == "no-token"
    # But a server that is late itself sends several tokens in one event.
    merged = row(steps())
    merged["itls"] = [merged["itls"][0][8:], *merged["itls"][1:]]
    assert read(tmp_path, merged, lags=(0.1,)).failure_class == "unseen-tokens"
    late = read(tmp_path, merged, lags=(50.0,))
    assert late.failure_class == STARVED
    assert "56 of 64" in late.reason


def test_what_a_record_keeps_is_judged_again(tmp_path: Path) -> None:
    starved = read(tmp_path, row(steps()), row(steps()), lags=(0.1, 6.0)).details["client_load"]
    assert "6 ms late on average" in kept_problem(starved)
    assert kept_problem(starved[:1]) == ""
    assert kept_problem([None, {}, {"itl_ms": "x"}]) == ""


def test_no_window_is_needed_to_see_it(tmp_path: Path) -> None:
    """Streams read one after the other are never four at once."""
    made = row([9e-6 + 1e-9 * number for number in range(40)])
    made["ttfts"] = list(accumulate([0.5, 0.5, 0.5, 0.5]))
    made["duration"] = 2.01
    outcome = read(tmp_path, made)
    assert outcome.details["full_batch"][0].keys() == {"problem"}
    assert outcome.failure_class == STARVED
