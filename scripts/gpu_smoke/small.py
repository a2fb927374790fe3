"""Makes the files of a run folder small without taking what servegate reads of them; pure."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import Any

__all__ = ["LONG_VALUE", "bench_result", "compact", "facts", "hang", "log", "trace"]

LONG_VALUE = 200
"""A variable's value that is longer is told by its digest: equal ones stay equal."""

_ACCESS = re.compile(r'INFO: +[\d.]+:\d+ - "')
_BATCH = re.compile(r"\] (?:Prefill|Decode) batch")
_BATCHES = 20
_SECONDS_DIGITS = 7
_TIMES = ("itls", "ttfts")
# The benchmark notes the server's settings and every answer; servegate reads neither.
_UNREAD = ("server_info", "generated_texts")

_HOST = ("cuda_runtime", "cuda_driver")
_ANNOTATIONS = ("user_annotation", "gpu_user_annotation")
_TRACE_KEYS = ("schemaVersion", "deviceProperties", "distributedInfo", "displayTimeUnit")
_ARGS = ("correlation", "stream")


def compact(text: str) -> str:
    """One JSON document on one line."""
    made = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    return made + "\n"


def facts(text: str) -> str:
    """facts.json on one line, long values of the environment as digests."""
    document = json.loads(text)
    for part in ("environment", "rank_environment"):
        values = document[part]
        for name, value in values.items():
            if len(value) > LONG_VALUE:
                digest = hashlib.sha256(value.encode()).hexdigest()[:16]
                values[name] = f"(sha256 {digest}, {len(value)} characters)"
    return compact(json.dumps(document))


def bench_result(text: str) -> str:
    """A result of the serving benchmark: no answers, no settings, times to 0.1 microseconds."""
    row = {key: value for key, value in json.loads(text).items() if key not in _UNREAD}
    return compact(json.dumps(row | {key: _rounded(row[key]) for key in _TIMES}))


def hang(text: str) -> str:
    """hang.json without the records, which the run has, and each kernel stack only once.

    A thread's stack is then the place of its own in the list ``stacks``.
    """
    document = json.loads(text)
    del document["records"]
    stacks: dict[str, int] = {}
    for process in (*document["stopped"], *document["clients"]):
        for thread in process["stack"]["threads"].values():
            thread["stack"] = stacks.setdefault(thread["stack"], len(stacks))
    return compact(json.dumps(document | {"stacks": list(stacks)}))


def _rounded(value: Any) -> Any:  # noqa: ANN401 - lists of lists of seconds
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, _SECONDS_DIGITS)


def log(text: str) -> str:
    """A server's log without its requests, with the first batches and the last state of bars."""
    kept: list[str] = []
    batches = 0
    for line in text.split("\n"):
        if _ACCESS.search(line):
            continue
        if _BATCH.search(line):
            batches += 1
            if batches > _BATCHES:
                continue
        kept.append(line.rstrip("\r").rsplit("\r", 1)[-1])
    return "\n".join(kept)


def trace(content: bytes) -> bytes:
    """A trace of torch's profiler: kernels, launches of graphs and steps, nothing else; gzipped.

    Where no graph was launched, steps are told by what launched each kernel, and all launches stay.

    Raises:
        ValueError: It holds no kernel; a trace of a CPU is not made small here.
    """
    document = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    events = document["traceEvents"]
    if not any(event.get("cat") == "kernel" for event in events):
        raise ValueError("holds no kernel of a GPU")
    graphs = any(event.get("cat") in _HOST and "GraphLaunch" in event["name"] for event in events)
    kept = {key: document[key] for key in _TRACE_KEYS if key in document}
    kept["traceEvents"] = [_event(event) for event in events if _is_read(event, graphs=graphs)]
    text = json.dumps(kept, separators=(",", ":"))
    return gzip.compress(text.encode(), 9, mtime=0)


def _is_read(event: dict[str, Any], *, graphs: bool) -> bool:
    kind, name = event.get("cat"), event.get("name", "")
    if kind in _HOST:
        return not graphs or "GraphLaunch" in name
    return kind == "kernel" or (kind in _ANNOTATIONS and name.startswith("step["))


def _event(event: dict[str, Any]) -> dict[str, Any]:
    kept = {key: event[key] for key in ("ph", "cat", "name", "pid", "tid", "ts", "dur")}
    args = event.get("args", {})
    return kept | {"args": {key: args[key] for key in _ARGS if key in args}}
