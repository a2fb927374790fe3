from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from evals.job import Outcome
from evals.latency.fake_client import Generated, result
from evals.latency.outcome import Asked, bench_file, read_cell, read_run
from evals.metrics import METRICS

REAL = Path(__file__).parent / "data" / "serving-h100.jsonl"


def _row(**changes: object) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(REAL.read_text())
    return row | changes


def _write(cell: Path, *rows: dict[str, Any]) -> Path:
    for number, row in enumerate(rows, start=1):
        bench_file(cell, number).write_text(json.dumps(row) + "\n")
    return cell


def _read(cell: Path, returncode: int = 0, **changes: int | None) -> Outcome:
    told: dict[str, Any] = {"runs": 1, "skip": 0} | changes
    tokens = told.pop("output_tokens", 64 * 128)
    asked = Asked(prompts=64, output_tokens=tokens, concurrency=16)
    return read_cell(cell, returncode, asked=asked, **told)


def test_a_real_result_is_read_and_its_median_is_that_of_its_own_gaps(tmp_path: Path) -> None:
    row = _row()
    outcome = _read(_write(tmp_path, row))
    assert (outcome.status, outcome.reason) == ("ok", "")
    gaps = [1000 * gap for gaps in row["itls"] for gap in gaps]
    assert len(gaps) == outcome.counts["itls"] == 64 * 127
    assert outcome.metrics["median_itl_ms"] == pytest.approx(statistics.median(gaps), abs=1e-5)
    ttfts = [1000 * ttft for ttft in row["ttfts"]]
    assert outcome.metrics["median_ttft_ms"] == pytest.approx(statistics.median(ttfts), abs=1e-4)
    assert outcome.metrics["median_itl_ms"] == row["median_itl_ms"]
    assert outcome.metrics["median_e2e_ms"] == row["median_e2e_latency_ms"]
    assert set(outcome.metrics) <= set(METRICS)
    assert outcome.details["client"] == "sglang.benchmark.serving"


def test_our_formulas_give_what_the_real_tool_gave(tmp_path: Path) -> None:
    """The builtin client's summary, from the real run's own per-request times."""
    row = _row()
    answers = [
        Generated(
            success=True, output_len=length, ttft=ttft, latency=ttft + sum(gaps), itl=list(gaps)
        )
        for length, ttft, gaps in zip(row["output_lens"], row["ttfts"], row["itls"], strict=True)
    ]
    ours = result(answers, row["input_lens"], row["duration"])
    assert ours["start_times"] == [0.0] * 64
    for name in ("mean", "median", "std", "p90", "p95", "p99"):
        for kind in ("itl", "ttft"):
            field = f"{name}_{kind}_ms"
            assert ours[field] == pytest.approx(row[field], abs=1e-4), field
    for field in ("completed", "total_input_tokens", "total_output_tokens", "output_throughput"):
        assert ours[field] == pytest.approx(row[field]), field


def test_the_cells_value_is_the_median_over_the_runs_that_count(tmp_path: Path) -> None:
    rows = [_row(median_itl_ms=value) for value in (90.0, 3.0, 1.0, 2.0)]
    outcome = _read(_write(tmp_path, *rows), runs=4, skip=1)
    assert outcome.metrics["median_itl_ms"] == 2.0
    assert [run["median_itl_ms"] for run in outcome.runs] == [90.0, 3.0, 1.0, 2.0]
    assert _read(tmp_path, runs=4).metrics["median_itl_ms"] == 2.5
    assert outcome.artifacts["bench-4"] == "bench-4.jsonl"


@pytest.mark.parametrize(
    ("changes", "status", "failure_class", "reason"),
    [
        ({"completed": 63}, "invalid", "errors", "63 of 64 requests completed"),
        ({"errors": ["", "boom"]}, "invalid", "errors", "boom"),
        ({"itls": [[]] * 64}, "invalid", "no-gaps", "did not stream"),
        ({"itls": [[], []]}, "failed", "bad-output", "not one list for each request"),
        ({"duration": 0}, "failed", "bad-output", "duration is 0, not a time"),
        ({"total_output_tokens": 7000}, "invalid", "short-output", "7000 output tokens where 8192"),
        ({"total_output_tokens": 8193}, "invalid", "short-output", "8193"),
        ({"total_output_tokens": 8180}, "ok", "", ""),
        ({"median_itl_ms": float("nan")}, "failed", "bad-output", "median_itl_ms is nan"),
        ({"median_ttft_ms": None}, "failed", "bad-output", "median_ttft_ms is None"),
        ({"itls": None}, "failed", "bad-output", "--output-details"),
        ({"itls": [1.0]}, "failed", "bad-output", "not one list"),
        ({"completed": None}, "failed", "bad-output", "completed is None"),
    ],
)
def test_a_run_that_must_not_count(
    tmp_path: Path, changes: dict[str, Any], status: str, failure_class: str, reason: str
) -> None:
    outcome = _read(_write(tmp_path, _row(), _row(**changes)), runs=2)
    assert (outcome.status, outcome.failure_class) == (status, failure_class)
    assert reason in outcome.reason


def test_output_that_may_vary_is_not_counted_after(tmp_path: Path) -> None:
    _write(tmp_path, _row(total_output_tokens=50))
    assert _read(tmp_path, output_tokens=None).status == "ok"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 results"),
        (b"{}\n{}\n", "2 results"),
        (b"{", "cannot be read"),
        (b"\xff\n", "cannot be read"),
        (b"[]\n", "no JSON object"),
    ],
)
def test_a_file_that_is_no_result(tmp_path: Path, content: bytes, reason: str) -> None:
    bench_file(tmp_path, 1).write_bytes(content)
    outcome = _read(tmp_path)
    assert (outcome.status, outcome.failure_class) == ("failed", "bad-output")
    assert reason in outcome.reason


@pytest.mark.parametrize(("code", "failure_class"), [(1, "client-exit"), (0, "no-output")])
def test_missing_files(tmp_path: Path, code: int, failure_class: str) -> None:
    outcome = _read(_write(tmp_path, _row()), code, runs=2)
    assert (outcome.status, outcome.failure_class) == ("failed", failure_class)
    assert "1 of 2 result files" in outcome.reason


def test_the_real_file_has_one_result() -> None:
    assert read_run(REAL)["completed"] == 64


def test_percentiles_and_the_full_batch_of_a_real_run(tmp_path: Path) -> None:
    """An H100 at concurrency 16: four waves, so most but not all gaps are of the full batch."""
    outcome = _read(_write(tmp_path, _row()))
    assert outcome.metrics["p90_ttft_ms"] == pytest.approx(70.194, abs=0.001)
    assert outcome.metrics["p95_e2e_ms"] == _row()["p95_e2e_latency_ms"]
    assert outcome.metrics["steady_itl_ms"] == pytest.approx(2.464, rel=0.02)
    (window,) = outcome.details["full_batch"]
    assert window["gaps"] + window["ramp_gaps"] == outcome.counts["itls"]
    assert 0.6 * outcome.counts["itls"] < window["gaps"] < outcome.counts["itls"]
    assert outcome.metrics["tokens_per_event"] == 1.0
    assert "accept_length" not in outcome.metrics


def test_a_percentile_that_a_version_does_not_write_is_left_out(tmp_path: Path) -> None:
    row = _row()
    del row["p90_itl_ms"]
    outcome = _read(_write(tmp_path, row))
    assert outcome.status == "ok"
    assert "p90_itl_ms" not in outcome.metrics
    assert "p95_itl_ms" in outcome.metrics


def test_a_metric_that_only_some_runs_have_is_not_the_cells(tmp_path: Path) -> None:
    rated = _row(request_rate=4.0)
    outcome = _read(_write(tmp_path, _row(), rated), runs=2)
    assert "steady_itl_ms" not in outcome.metrics
    assert outcome.details["full_batch"][1] == {
        "problem": "requests came at a rate, and the benchmark does not say when"
    }
