"""The process that fills a batch, has SGLang trace some decode steps, and waits for the files."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from evals.answer_log import write_whole
from evals.client import arguments, keep_failure, session
from evals.comm_kernels.files import FACTS, TRACES, layers_of, trace_files
from evals.comm_kernels.nsys_capture import CaptureFailed, NsysSession, session_of
from evals.comm_kernels.settings import CommKernelsSettings

__all__ = ["main"]

EXIT_OK, EXIT_FAILED = 0, 3

_POLL_S = 0.5
_SETTLED_S = 2.0  # a file that did not grow for so long is whole
_SESSION_S = 60.0
_LAST_STEP_S = 1.0  # SGLang's overlapped scheduler runs one more step behind the last token
_FIRST_TOKEN = 3  # an ordinary token; which one does not matter


class _Failed(RuntimeError):
    """Why no trace came about: class and reason."""

    def __init__(self, failure_class: str, reason: str) -> None:
        super().__init__(reason)
        self.failure_class = failure_class


def main(given: Sequence[str] | None = None) -> int:
    """Trace; returns the exit code (0 all files are there, 3 not)."""
    options = arguments("comm_kernels.client", __doc__, given)
    cell = Path(options.out)
    settings = CommKernelsSettings.model_validate_json(options.settings)
    try:
        _trace(options.base_url, settings, cell)
    except (_Failed, CaptureFailed) as error:
        keep_failure(cell, error.failure_class, str(error))
        return EXIT_FAILED
    except (requests.RequestException, ValueError, KeyError) as error:
        failure, reason = "errors", f"{type(error).__name__}: {error}"
        keep_failure(cell, failure, reason)
        return EXIT_FAILED
    return EXIT_OK


def _trace(base_url: str, settings: CommKernelsSettings, cell: Path) -> None:
    info = _get(f"{base_url}/server_info")
    ranks = int(info["tp_size"])
    layers = settings.layers if settings.layers is not None else layers_of(info.get("model_path"))
    facts = {
        "ranks": ranks,
        "layers": layers,
        "device": info.get("device"),
        "attention_dp": _attention_dp(info),
        "ep": info.get("ep_size", 1),
    }
    write_whole(cell / FACTS, json.dumps(facts, indent=1) + "\n")
    folder = cell / TRACES
    folder.mkdir()
    if settings.capture == "nsys":
        _by_nsys(base_url, settings, folder.resolve())
        return
    activity = "CPU" if info.get("device") == "cpu" else "GPU"
    with _decoding(base_url, settings):
        _start_profile(base_url, folder.resolve(), settings.steps, activity)
    _wait(folder, ranks, settings.trace_timeout_s)


def _by_nsys(base_url: str, settings: CommKernelsSettings, folder: Path) -> None:
    """The whole batch, from before its first request to after its last token.

    On a GPU `nsys start` took a second, in which 300 steps went by, and what is in flight at `stop`
    is lost (2025.3 on an H100, docs/gpu.md): neither may fall among the steps.
    """
    capture = NsysSession(session_of(base_url), folder)
    capture.await_session(_SESSION_S)

    def batch() -> None:
        with _decoding(base_url, settings):
            pass
        time.sleep(_LAST_STEP_S)

    capture.collect(batch)
    capture.exported()


@contextmanager
def _decoding(base_url: str, settings: CommKernelsSettings) -> Iterator[None]:
    """While all requests of the batch decode together; waits for their ends behind it."""
    decoding = threading.Semaphore(0)
    with ThreadPoolExecutor(settings.concurrency) as pool:
        streams = [
            pool.submit(_stream, base_url, settings, number, decoding)
            for number in range(settings.concurrency)
        ]
        for _ in streams:
            if not decoding.acquire(timeout=settings.trace_timeout_s):
                raise _Failed("no-decode", "the batch never came to decode together")
        yield
        for stream in streams:
            stream.result()


def _attention_dp(info: Mapping[str, Any]) -> int:
    """Of SGLang 0.5.23, and of 0.5.16, which has it as dp_size."""
    found = info.get("attn_dp_size")
    if isinstance(found, int):
        return found
    return int(info.get("dp_size", 1)) if info.get("enable_dp_attention") else 1


def _stream(
    base_url: str,
    settings: CommKernelsSettings,
    number: int,
    decoding: threading.Semaphore,
) -> None:
    """One request; releases `decoding` at its first token, or when it ends without one."""
    body = {
        "input_ids": [_FIRST_TOKEN + number] * settings.input_len,
        "sampling_params": {
            "temperature": 0.0,
            "max_new_tokens": settings.output_len,
            "ignore_eos": True,
        },
        "stream": True,
    }
    seen = False
    try:
        with (
            session() as http,
            http.post(
                f"{base_url}/generate",
                json=body,
                stream=True,
                timeout=(10, settings.trace_timeout_s),
            ) as answer,
        ):
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line and not seen:
                    seen = True
                    decoding.release()
    finally:
        if not seen:
            decoding.release()


def _start_profile(base_url: str, folder: Path, steps: int, activity: str) -> None:
    body = {
        "output_dir": str(folder),
        "num_steps": steps,
        "activities": [activity],
        "with_stack": False,
        "record_shapes": False,
    }
    with session() as http:
        answer = http.post(f"{base_url}/start_profile", json=body, timeout=(10, 120))
    if answer.status_code != requests.codes.ok:
        raise _Failed(
            "profiler",
            f"/start_profile answered HTTP {answer.status_code}: {answer.text[:200]}",
        )


def _wait(folder: Path, ranks: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    sizes: dict[Path, int] = {}
    since = time.monotonic()
    while time.monotonic() < deadline:
        now = {path: path.stat().st_size for path in trace_files(folder)}
        if now != sizes or len(now) < ranks:
            sizes, since = now, time.monotonic()
        elif time.monotonic() - since >= _SETTLED_S:
            return
        time.sleep(_POLL_S)
    raise _Failed(
        "incomplete",
        f"{len(sizes)} of {ranks} ranks wrote a trace within {timeout_s:g} s; the server's log "
        "says what its profiler met, and output_len must outlast the traced steps",
    )


def _get(url: str) -> dict[str, Any]:
    with session() as http:
        answer = http.get(url, timeout=(10, 60))
    found = answer.json()
    if not isinstance(found, dict):
        raise ValueError(f"{url} gave no object")
    return found


if __name__ == "__main__":
    sys.exit(main())
