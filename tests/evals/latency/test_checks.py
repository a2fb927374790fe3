"""Which requests of a run were not served as asked, by what the benchmark wrote of each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evals.job import Outcome
from evals.latency.checks import unseen_tokens
from evals.latency.outcome import Asked, bench_file, read_cell

REQUESTS, TOKENS = 6, 20


def row(**changes: object) -> dict[str, Any]:
    """Six requests of twenty tokens, 8 ms each, three at a time."""
    gaps = [[0.008 + 1e-6 * ((7 * i + j) % 5) for j in range(TOKENS - 1)] for i in range(REQUESTS)]
    made: dict[str, Any] = {
        "backend": "sglang", "request_rate": math.inf, "duration": 0.37, "completed": REQUESTS,
        "total_output_tokens": REQUESTS * TOKENS, "total_output_tokens_retokenized": 131,
        "median_itl_ms": 8.002, "p99_itl_ms": 8.004, "median_tpot_ms": 8.01, "p99_tpot_ms": 8.1,
        "median_ttft_ms": 30.0, "median_e2e_latency_ms": 182.0, "output_throughput": 324.0,
        "request_throughput": 16.2, "total_throughput": 900.0,
        "output_lens": [TOKENS] * REQUESTS, "ttfts": [0.03] * REQUESTS, "itls": gaps,
        "errors": [""] * REQUESTS,
    }  # fmt: skip
    return made | changes


def with_request(number: int, **changes: Any) -> dict[str, Any]:
    """One request, counted from 1, with another time to first token, gaps or length."""
    made = row()
    for field, value in changes.items():
        made[field] = [*made[field]]
        made[field][number - 1] = value
    return made


def read(cell: Path, *rows: dict[str, Any], **changes: Any) -> Outcome:
    for number, one in enumerate(rows, start=1):
        bench_file(cell, number).write_text(json.dumps(one) + "\n", encoding="utf-8")
    told: dict[str, Any] = {
        "prompts": REQUESTS, "output_tokens": REQUESTS * TOKENS, "concurrency": 3,
    }  # fmt: skip
    return read_cell(cell, 0, runs=len(rows), skip=0, asked=Asked(**(told | changes)))


GAP = 0.008


@pytest.mark.parametrize(
    ("number", "changes", "failure_class", "reason"),
    [
        (4, {"ttfts": 0.0, "itls": []}, "no-token", "1 of 6 requests gave no token: request 4"),
        (4, {"ttfts": None, "itls": []}, "no-token", "1 of 6 requests gave no token: request 4"),
        (2, {"ttfts": 0.0}, "bad-times", "request 2 (its time to first token is 0.0 s)"),
        (2, {"ttfts": -0.1}, "bad-times", "request 2 (its time to first token is -0.1 s)"),
        (2, {"ttfts": math.nan}, "bad-times", "request 2 (its time to first token is nan s)"),
        (5, {"itls": [GAP] * 18 + [None]}, "bad-times", "request 5 (its gap 19 is None s)"),
        (5, {"itls": [0.0] + [GAP] * 18}, "bad-times", "request 5 (its gap 1 is 0.0 s)"),
        (5, {"itls": [math.inf] + [GAP] * 18}, "bad-times", "request 5 (its gap 1 is inf s)"),
        (5, {"itls": [GAP, "8"] + [GAP] * 17}, "bad-times", "request 5 (its gap 2 is '8' s)"),
        (5, {"itls": [GAP, 10**400] + [GAP] * 17}, "bad-times", "request 5 (its gap 2 is 1000"),
        (5, {"itls": [GAP, True] + [GAP] * 17}, "bad-times", "request 5 (its gap 2 is True s)"),
        (1, {"output_lens": 3, "itls": [GAP] * 2}, "short-output",
         "request 1 (3 tokens where 20 were asked)"),
        (1, {"output_lens": 19, "itls": [GAP] * 18}, "short-output",
         "request 1 (19 tokens where 20 were asked)"),
        (1, {"output_lens": 21, "itls": [GAP] * 20}, "short-output",
         "request 1 (21 tokens where 20 were asked)"),
        (1, {"output_lens": None}, "short-output", "request 1 (None tokens)"),
        (6, {"itls": [GAP] * 17}, "unseen-tokens", "request 6 (18 of 20)"),
    ],
)  # fmt: skip
def test_one_request_that_was_not_served_as_asked_makes_the_cell_invalid(
    tmp_path: Path, number: int, changes: dict[str, Any], failure_class: str, reason: str
) -> None:
    outcome = read(tmp_path, row(), with_request(number, **changes))
    assert (outcome.status, outcome.failure_class) == ("invalid", failure_class)
    assert outcome.reason.startswith("run 2: 1 of 6 requests")
    assert reason in outcome.reason


def test_all_requests_as_asked_are_ok_whatever_retokenizing_counts(tmp_path: Path) -> None:
    outcome = read(tmp_path, row())
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert outcome.details["retokenized_tokens_per_run"] == 131
    # 19 of 20 tokens seen is 95 %: one event may bring the first two.
    assert read(tmp_path, with_request(6, itls=[GAP] * 18)).status == "ok"


def test_empty_answers_are_told_by_number_and_not_as_a_server_that_does_not_stream(
    tmp_path: Path,
) -> None:
    empty = {"ttfts": [0.0] * REQUESTS, "itls": [[]] * REQUESTS, "median_itl_ms": 0.0}
    outcome = read(tmp_path, row(**empty))
    assert outcome.failure_class == "no-token"
    assert outcome.reason == (
        "run 1: 6 of 6 requests gave no token: requests 1, 2, 3, 4 and 2 more"
    )
    whole = read(tmp_path, row(itls=[[]] * REQUESTS))
    assert (whole.failure_class, "did not stream" in whole.reason) == ("no-gaps", True)
    never = read(tmp_path, row(itls=[[]] * REQUESTS, ttfts=[math.nan] * REQUESTS))
    assert never.failure_class == "bad-times"


def test_a_failed_request_is_an_error_and_not_an_empty_answer(tmp_path: Path) -> None:
    failed = with_request(3, ttfts=0.0, itls=[], output_lens=0, errors="HTTP 500")
    outcome = read(tmp_path, failed | {"completed": 5})
    assert (outcome.status, outcome.failure_class) == ("invalid", "errors")
    assert "5 of 6 requests completed; the first error: HTTP 500" in outcome.reason


def test_a_file_that_lists_fewer_requests_than_it_counts(tmp_path: Path) -> None:
    lists = {name: row()[name][:5] for name in ("ttfts", "itls", "output_lens", "errors")}
    outcome = read(tmp_path, row(**lists))
    assert outcome.failure_class == "errors"
    assert "6 of 6 requests completed; 5 are listed" in outcome.reason
    outcome = read(tmp_path, row(output_lens=[TOKENS]))
    assert (outcome.status, outcome.failure_class) == ("failed", "bad-output")


def test_lengths_are_held_against_what_was_asked(tmp_path: Path) -> None:
    shorter = with_request(1, output_lens=12, itls=[GAP] * 11)
    asked = {"output_tokens": None, "lengths": (12, 20)}
    assert read(tmp_path, shorter, **asked).status == "ok"
    short = with_request(1, output_lens=11, itls=[GAP] * 10)
    assert read(tmp_path, short, **asked).failure_class == "short-output"
    assert read(tmp_path, short, output_tokens=None).status == "ok"


def test_last_tokens_that_print_as_nothing_shorten_an_answer_only_where_events_are_new_text(
    tmp_path: Path,
) -> None:
    one_less = with_request(1, output_lens=19, itls=[GAP] * 18)
    for told in ({"server_info": {"incremental_streaming_output": True}}, {"backend": "vllm"}):
        assert read(tmp_path, one_less | told, output_tokens=None, lengths=(20, 20)).status == "ok"
    two_less = with_request(1, output_lens=18, itls=[GAP] * 17)
    new_text = {"server_info": {"incremental_streaming_output": True}}
    assert read(tmp_path, two_less | new_text).failure_class == "short-output"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"median_tpot_ms": -0.4}, "median_tpot_ms is -0.4"),
        ({"output_throughput": 0}, "output_throughput is 0"),
        ({"p99_itl_ms": -1.0}, "p99_itl_ms is -1.0"),
        ({"p95_ttft_ms": math.inf}, "p95_ttft_ms is inf"),
        ({"median_itl_ms": 0.0098}, "median_itl_ms is 0.0098, and that of its own gaps is 8.002"),
        ({"median_tpot_ms": 27.1}, "median_tpot_ms is 27.1, and that of its own gaps is 8.00"),
        ({"start_times": [0.0, None, 0, 0, 0, 0]}, "a start time"),
    ],
)
def test_a_summary_that_cannot_be_or_is_not_of_these_requests(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    outcome = read(tmp_path, row(**changes))
    assert (outcome.status, outcome.failure_class) == ("invalid", "bad-times")
    assert reason in outcome.reason


def test_counts_of_a_record_show_tokens_that_nothing_accounts_for() -> None:
    """Two of eight streams empty, each counted with the 16 tokens that were asked of it."""
    counts = {"completed": 8, "itls": 6 * 15, "output_tokens": 8 * 16}
    problem = unseen_tokens(counts)
    assert problem is not None
    assert "98 of 128 output tokens" in problem.reason
    assert unseen_tokens(counts | {"itls": 8 * 15}) is None
    assert unseen_tokens({"completed": 8}) is None
