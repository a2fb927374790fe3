"""The process that fills a batch, has some of its decode steps traced, and waits for the files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from evals.client import arguments, keep_failure, session
from evals.comm_kernels.capture.batch import NoDecode, decoding
from evals.comm_kernels.capture.files import FACTS, TRACES, layers_of, trace_files
from evals.comm_kernels.capture.nsys import CaptureFailed, NsysSession, session_of
from evals.comm_kernels.settings import CommKernelsSettings
from evals.files import write_whole

__all__ = ["main"]

EXIT_OK, EXIT_FAILED = 0, 3

_POLL_S = 0.5
_SETTLED_S = 2.0  # a file that did not grow for so long is whole
_SESSION_S = 60.0
_TORN_STEPS = 4  # more than are wanted, since the first and the last may be cut
# A request is over two seconds after its client has gone (sglang 0.5.16 and 0.5.23,
# srt/managers/tokenizer_manager.py, create_abort_task), and at once where /abort_request is known.
_IDLE_S = 3.0


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
    except (_Failed, NoDecode, CaptureFailed) as error:
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
    with decoding(base_url, settings):
        _start_profile(base_url, folder.resolve(), settings.steps, activity)
    _wait(folder, ranks, settings.trace_timeout_s)


def _by_nsys(base_url: str, settings: CommKernelsSettings, folder: Path) -> None:
    """Collect while the full batch decodes, and end it before collecting ends.

    On a GPU ``nsys start`` took a second, in which 300 steps went by, and what is in flight at
    ``nsys stop`` is lost (2025.3 on an H100, docs/gpu.md). Prefill is left out, too: its graphs are
    replayed more often than those of decoding.
    """
    capture = NsysSession(session_of(base_url), folder)
    capture.await_session(_SESSION_S)
    with decoding(base_url, settings) as batch:

        def steps() -> None:
            batch.wait_steps(settings.steps + _TORN_STEPS)
            batch.end()
            time.sleep(_IDLE_S)

        capture.collect(steps)
    capture.exported()


def _attention_dp(info: Mapping[str, Any]) -> int:
    """Of SGLang 0.5.23, and of 0.5.16, which has it as dp_size."""
    found = info.get("attn_dp_size")
    if isinstance(found, int):
        return found
    return int(info.get("dp_size", 1)) if info.get("enable_dp_attention") else 1


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
