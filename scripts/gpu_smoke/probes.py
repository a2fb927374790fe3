"""One server: what SGLang's profiler costs, and how long after TERM it and its memory are gone.

Both times of ``release`` are seconds from TERM: ``stopped_after_s`` until the server was gone,
``released_after_s`` until the GPU's memory was free, which may come first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from evals.files import split_lines
from launchers.machine.gpus import gpu_state
from launchers.server.launch import Server
from scripts.gpu_smoke.asking import post
from scripts.gpu_smoke.serving import command, served

_LOOK_S = 0.05
_LEFT_MIB = 64


def main() -> int:
    """Exit code 0 when both were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--engine", choices=["fake"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    free = _free()
    argv = command(options.experiment, engine=options.engine)
    with served(argv, options.out / "probe-server.log") as server:
        found = {"profiler": _profiler(server, options.out.resolve())}
        loaded, marks = _free(), _Watch(free)
        stopping = time.monotonic()
    found["release"] = {
        "free_mib_before": free,
        "free_mib_loaded": loaded,
        "stopped_after_s": round(time.monotonic() - stopping, 3),
        "released_after_s": marks.wait(),
    }
    (options.out / "probes.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"probes: {json.dumps(found)}", flush=True)
    return 0


def _profiler(server: Server, out: Path) -> dict[str, Any]:
    """Median ITL in ms of equal runs: without, with, and again without the profiler."""
    found: dict[str, Any] = {"before": [_itl(server, out) for _ in range(4)][1:]}
    post(
        server.base_url,
        "/start_profile",
        {"output_dir": str(out / "profile"), "activities": ["GPU"]},
    )
    found["during"] = [_itl(server, out)]
    began = time.monotonic()
    post(server.base_url, "/stop_profile", {}, timeout_s=200)
    found["stop_profile_s"] = round(time.monotonic() - began, 1)
    found["after"] = [_itl(server, out) for _ in range(3)]
    found["ratio"] = round(median(found["during"]) / median(found["before"]), 4)
    return found


def _itl(server: Server, out: Path) -> float:
    file = out / "bench-probe.jsonl"
    subprocess.run(
        [sys.executable, "-P", "-m", "evals.latency.fake_client", "--base-url", server.base_url,
         "--input-len", "256", "--output-len", "128", "--concurrency", "16", "--prompts", "32",
         "--warmup-requests", "16", "--seed", "1", "--output", str(file)],
        check=True, timeout=120,
    )  # fmt: skip
    row = json.loads(split_lines(file.read_bytes())[-1])
    return round(float(row["median_itl_ms"]), 4)


def _free() -> int | None:
    """Free memory of GPU 0 in MiB; None: there is no GPU."""
    state = gpu_state()
    return int(state[0]["free_mib"]) if state else None


class _Watch:
    """Notes, from a thread of its own, when the memory is free again; made just before TERM."""

    def __init__(self, wanted: int | None) -> None:
        self._began = time.monotonic()
        self._after: float | None = None
        self._wanted = wanted
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while self._wanted is not None and time.monotonic() - self._began < 60:
            if (_free() or 0) >= self._wanted - _LEFT_MIB:
                self._after = round(time.monotonic() - self._began, 3)
                return
            time.sleep(_LOOK_S)

    def wait(self) -> float | None:
        """Seconds from TERM until the memory was free; None: not in a minute."""
        self._thread.join()
        return self._after


if __name__ == "__main__":
    sys.exit(main())
