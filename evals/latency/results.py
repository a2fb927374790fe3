"""Results of serving benchmarks that others ran: SGLang's ``bench_serving`` and vLLM's.

SGLang appends a line a run to a JSON Lines file (0.5.23: sglang/benchmark/serving.py). ``vllm bench
serve`` writes a JSON document with ``--save-result`` and appends lines with ``--append-result``
(0.33.0: vllm/benchmarks/serve.py); both leave out what each request did unless it is asked for
(``--output-details``, ``--save-detailed``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.files import DataError, read_document, read_rows
from evals.latency.checks import is_number, is_time, request_problems
from evals.told_settings import flat, model_name, told

__all__ = ["BENCH_METRICS", "SGLANG", "VLLM", "BenchResult", "is_bench_file", "read_bench_file"]

SGLANG = "SGLang's benchmark"
VLLM = "vLLM's benchmark"

# Our metric by each client's field.
_STATISTICS = ("median", "p90", "p95", "p99")
_FIELDS = {
    client: {
        **{
            f"{statistic}_{ours}_ms": f"{statistic}_{theirs}_ms"
            for statistic in _STATISTICS
            for ours, theirs in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", e2e))
        },
        "output_throughput": "output_throughput",
        "request_throughput": "request_throughput",
        "total_throughput": total,
    }
    for client, e2e, total in (
        (SGLANG, "e2e_latency", "total_throughput"),
        (VLLM, "e2el", "total_token_throughput"),
    )
}
BENCH_METRICS = tuple(_FIELDS[SGLANG])
"""Every metric that can be compared, in the order of a table."""

_NOT_SETTINGS = (
    # Results of both.
    r"(mean|median|std|min|max|p[\d.]+)_\w+_ms",
    r"\w*_throughput(_retokenized)?",
    r"duration",
    r"completed|failed|total_\w+|concurrency|max_(output_tokens_per_s|concurrent_requests)",
    r"\w+_(lens|times|texts|ttfts)|ttfts|itls|latencies|errors|cached_tokens\w*|rtfx",
    r"request_goodput|slo_attainment\w*(\..*)?|accept_length|cache_report(\..*)?",
    r"(spec_decode|diffusion|probe)_\w+",
    r"rps_change_events",
    # Names, times, the server.
    r"tag|label|date|servegate_client",
    r"server_info(\..*)?",
)
_NAMES = {"model_id": "model", "tokenizer_id": "tokenizer"}


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """One result of one file.

    Attributes:
        place: The file, with the number of the line in JSON Lines.
        file: The file.
        client: What measured: :data:`SGLANG` or :data:`VLLM`.
        metrics: Positive finite values by servegate's names.
        problem: Why the result must not count; "" if it may.
        settings: All that it says of load and client, and what its tokens say of lengths.
        itl: How a gap between tokens was counted.
    """

    place: str
    file: str
    client: str
    metrics: Mapping[str, float]
    problem: str
    settings: Mapping[str, Any]
    itl: str


def is_bench_file(path: Path) -> bool:
    """Whether the first object of a file looks like a result of either client."""
    try:
        return _client(_first(path)) is not None
    except DataError:
        return False


def read_bench_file(path: Path) -> list[BenchResult]:
    """Every result of a file, in order.

    Raises:
        DataError: The file is empty or damaged, or holds anything else.
    """
    found: list[BenchResult] = []
    try:
        for number, row in read_rows(path):
            found.append(_result(path, number, row))
    except DataError:
        # One object over many lines fails at the first of them.
        document = None if found else _document(path)
        if document is None:
            raise
        found.append(_result(path, 0, document))
    return found


def _first(path: Path) -> object:
    try:
        return next(read_rows(path))[1]
    except DataError:
        return read_document(path)  # one object over many lines


def _document(path: Path) -> dict[str, Any] | None:
    try:
        document = read_document(path)
    except DataError:
        return None
    return document if isinstance(document, dict) else None


_SGLANG_KEYS = frozenset({"backend", "output_throughput"})


def _client(row: object) -> str | None:
    if not isinstance(row, Mapping) or "duration" not in row or "completed" not in row:
        return None
    if "total_token_throughput" in row:
        return VLLM
    if row.keys() >= _SGLANG_KEYS:
        return SGLANG
    return None


def _result(path: Path, number: int, row: Mapping[str, Any]) -> BenchResult:
    place = f"{path}:{number}" if number else str(path)
    client = _client(row)
    if client is None:
        raise DataError(f"{place}: is no result of SGLang's or vLLM's serving benchmark")
    return BenchResult(
        place=place,
        file=str(path),
        client=client,
        metrics={
            ours: float(row[name])
            for ours, name in _FIELDS[client].items()
            if is_time(row.get(name))
        },
        problem=_problem(client, row),
        settings=_settings(client, row),
        itl=_itl(client, row),
    )


def _problem(client: str, row: Mapping[str, Any]) -> str:
    """Why a result says nothing: requests failed or got no token, or numbers cannot be."""
    if not is_time(row.get("duration")) or not is_time(row.get("completed")):
        return f"completed {row.get('completed')!r} requests in {row.get('duration')!r} s"
    wrong = [
        f"{name} is {row[name]!r}"
        for name in _FIELDS[client].values()
        if row.get(name) is not None and not is_time(row.get(name))
    ]
    if wrong:
        return f"{wrong[0]}, not a positive number"
    asked = row.get("num_prompts")
    errors = [one for one in _list(row, "errors") if one]
    failed = row.get("failed") or len(errors)
    if failed or (isinstance(asked, int) and asked > row["completed"]):
        told_first = f"; the first error: {str(errors[0])[:200]}" if errors else ""
        return f"not all requests completed: {row['completed']}, {failed} failed{told_first}"
    if is_time(row.get("total_output_tokens")) != is_time(row.get("output_throughput")):
        return f"total_output_tokens is {row.get('total_output_tokens')!r}"
    return _request_problem(client, row)


def _request_problem(client: str, row: Mapping[str, Any]) -> str:
    """Of a result that says what each request did."""
    ttfts, gaps, lengths = (_list(row, name) for name in ("ttfts", "itls", "output_lens"))
    if not ttfts and not gaps:
        return ""
    if len(gaps) != len(ttfts) or not all(isinstance(one, list) for one in gaps):
        return f"{len(ttfts)} first tokens and the gaps of {len(gaps)} requests"
    told = {"ttfts": ttfts, "itls": gaps, "errors": _list(row, "errors")}
    if lengths:
        if len(lengths) != len(ttfts):
            return f"{len(ttfts)} first tokens and the lengths of {len(lengths)} requests"
        told["output_lens"] = lengths
    problems = request_problems(told, None, by_chunk=_itl(client, row) == _BY_CHUNK)
    return problems[0].reason if problems else ""


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    return value if isinstance(value, list) else []


def _settings(client: str, row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if not isinstance(value, list)}
    settings = told(flat(plain), not_settings=_NOT_SETTINGS, names=_NAMES)
    settings = {
        name: "inf" if isinstance(value, float) and math.isinf(value) else value
        for name, value in settings.items()
    }
    if settings.get("endpoint_type") == settings.get("backend"):
        settings.pop("endpoint_type", None)  # vLLM keeps the old name of it
    if settings.get("request_rate") == "inf":
        settings.pop("burstiness", None)  # of no effect where all requests are sent at once
    elif client == SGLANG:
        settings["burstiness"] = 1.0  # a Poisson process, as vLLM's default
    settings["client"] = row.get("servegate_client", client)
    info = row.get("server_info")
    if isinstance(info, Mapping) and info.get("model_path"):
        settings["model"] = info["model_path"]
    for name in ("model", "tokenizer"):
        if name in settings:
            settings[name] = model_name(settings[name])
    completed = row.get("completed")
    if is_number(completed) and completed:
        # SGLang does not say how many it was to send.
        settings.setdefault("num_prompts", len(_list(row, "errors")) or completed)
        for name, field in (("input_tokens", "total_input_tokens"), _OUTPUT):
            if is_number(row.get(field)):
                settings[f"{name}_per_request"] = row[field] / completed
    return settings


_OUTPUT = ("output_tokens", "total_output_tokens")
_BY_CHUNK = "a gap for each chunk"


def _itl(client: str, row: Mapping[str, Any]) -> str:
    """What a gap is: each client counts chunks that hold several tokens in its own way."""
    if client == VLLM:
        return _BY_CHUNK
    backend = str(row.get("backend"))
    accepted = row.get("accept_length")
    if backend in {"sglang-oai", "sglang-oai-chat"} and is_number(accepted) and accepted > 0:
        return "a gap shared among the tokens of its chunk, counted by the tokenizer"
    if backend in {"sglang", "sglang-native"}:
        return "a gap shared among the tokens that the server counts"
    return _BY_CHUNK
