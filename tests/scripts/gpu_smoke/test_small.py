"""Files that are made small keep what servegate reads of them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from scripts.gpu_smoke import small, small_sets


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def answer(question: str, mark: str, response: str) -> dict[str, Any]:
    return {
        "id": question, "mark": mark, "extracted": "7", "response": response,
        "started_at": 1795533973.7329555, "ended_at": None,
    }  # fmt: skip


def test_only_responses_that_all_arms_marked_alike_become_digests() -> None:
    one = lines(answer("a", "correct", "seven"), answer("b", "correct", "it is 7"))
    other = lines(answer("a", "correct", "7."), answer("b", "wrong", "it is 7"))
    first, second = ([json.loads(x) for x in text.splitlines()] for text in
                     small_sets.answers([one, other]))  # fmt: skip
    assert (first[1]["response"], second[1]["response"]) == ("it is 7", "it is 7")
    assert first[0]["response"].startswith("(sha256 ")
    # How many texts are equal can still be told.
    assert first[0]["response"] != second[0]["response"]
    assert (first[0]["started_at"], first[0]["ended_at"]) == (1795533973.733, None)


def test_likely_tokens_stay_where_trails_part() -> None:
    def trail(last: int) -> str:
        top = [[[5, -0.125], [6, -2.0]], [[7, -0.5], [8, -0.75]]]
        return lines({"id": "t", "tokens": [5, last], "prefill": [-16.003337860107422], "top": top})

    made = [json.loads(text) for text in small_sets.trails([trail(7), trail(8)])]
    for row in made:
        assert row["top"] == [[[5, -0.125]], [[7, -0.5], [8, -0.75]]]
        assert row["prefill"] == [-16.003338]


def test_a_result_of_the_benchmark_keeps_its_times_to_a_tenth_of_a_microsecond() -> None:
    row = {
        "median_itl_ms": 2.4504275000083453, "itls": [[0.006638659000003599]], "ttfts": [0.25],
        "generated_texts": ["x"], "server_info": {"a": 1}, "request_rate": float("inf"),
    }  # fmt: skip
    made = json.loads(small.bench_result(lines(row)))
    assert made["itls"] == [[0.0066387]]
    assert made["median_itl_ms"] == 2.4504275000083453
    assert "generated_texts" not in made
    assert "server_info" not in made


def test_a_log_loses_requests_later_batches_and_earlier_states_of_bars() -> None:
    batch = "[t] Decode batch, #running-req: 16"
    text = "\n".join(
        ['[t] INFO:     127.0.0.1:58992 - "GET /health HTTP/1.1" 200 OK', *[batch] * 30,
         "  0%|  | 0/5\r 20%|  | 1/5\r100%|##| 5/5", "[t] Failed to load plugin x", ""]
    )  # fmt: skip
    made = small.log(text).split("\n")
    assert made == [*[batch] * 20, "100%|##| 5/5", "[t] Failed to load plugin x", ""]


def test_long_values_of_the_environment_stay_equal_or_different() -> None:
    def facts(value: str) -> str:
        return json.dumps({"environment": {"A": value, "B": "1"}, "rank_environment": {"A": value}})

    one, other = (
        json.loads(small.facts(facts("x" * 300))),
        json.loads(small.facts(facts("y" * 300))),
    )
    assert one["environment"]["A"] == one["rank_environment"]["A"]
    assert one["environment"]["A"] != other["environment"]["A"]
    assert one["environment"]["B"] == "1"
    assert len(one["environment"]["A"]) < 60


def test_a_stack_is_kept_once() -> None:
    thread = {"comm": "a", "wchan": "w", "stack": "f\ng"}
    process = {"pid": 1, "stack": {"threads": {"1": dict(thread), "2": dict(thread)}}}
    told = {"stopped": [process], "clients": [], "records": [{}], "returncode": 3}
    made = json.loads(small.hang(json.dumps(told)))
    assert made["stacks"] == ["f\ng"]
    assert [one["stack"] for one in made["stopped"][0]["stack"]["threads"].values()] == [0, 0]
    assert "records" not in made


def event(kind: str, name: str, **args: Any) -> dict[str, Any]:
    return {
        "ph": "X", "cat": kind, "name": name, "pid": 0, "tid": 7, "ts": 1.5, "dur": 2.0,
        "args": {"correlation": 3, "stream": 7, "grid": [1, 1, 1], **args},
    }  # fmt: skip


def names(content: bytes) -> list[str]:
    return [one["name"] for one in json.loads(gzip.decompress(content))["traceEvents"]]


def test_a_trace_keeps_kernels_launches_of_graphs_and_steps() -> None:
    every = [
        event("kernel", "k"), event("cuda_runtime", "cudaGraphLaunch"),
        event("cuda_runtime", "cudaEventQuery"), event("user_annotation", "step[DECODE bs=16]"),
        event("cpu_op", "aten::mm"),
    ]  # fmt: skip
    document = {"schemaVersion": 1, "trace_id": "82CD", "traceName": "/tmp/x", "traceEvents": every}
    made = small.trace(json.dumps(document).encode())
    assert names(made) == ["k", "cudaGraphLaunch", "step[DECODE bs=16]"]
    whole = json.loads(gzip.decompress(made))
    assert whole["traceEvents"][0]["args"] == {"correlation": 3, "stream": 7}
    assert whole.keys() == {"schemaVersion", "traceEvents"}
    assert made == small.trace(gzip.compress(json.dumps(document).encode()))


def test_a_trace_without_graphs_keeps_what_launched_its_kernels() -> None:
    every = [event("kernel", "k"), event("cuda_runtime", "cudaLaunchKernel")]
    made = small.trace(json.dumps({"traceEvents": every}).encode())
    assert names(made) == ["k", "cudaLaunchKernel"]


def test_a_trace_of_a_cpu_is_not_made_small() -> None:
    with pytest.raises(ValueError, match="no kernel of a GPU"):
        small.trace(json.dumps({"traceEvents": [event("cpu_op", "aten::mm")]}).encode())
