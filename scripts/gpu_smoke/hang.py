"""Stops the scheduler of a server that servegate measures, keeps stacks, and tells how it ends.

The job must be running when the scheduler is stopped with SIGSTOP; nobody continues it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from launchers.machine.ranks import scheduler_pids
from scripts.gpu_smoke.timed_run import newest

_INTO_THE_JOB_S = 6.0


def main() -> int:
    """Exit code 0 when the record is failed and has a class, as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--name", default="h100-hang")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wait", type=float, default=300, help="for the job to begin, seconds")
    parser.add_argument("arguments", nargs="*", help="after --: those of `servegate run`")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-P", "-m", "pipeline", "run", *options.arguments]
    process = subprocess.Popen([*argv, "--out", str(options.runs)])
    found: dict[str, Any] = {"stopped": []}
    leader = _measured(options.runs / options.name, process, options.wait)
    if leader is not None:
        time.sleep(_INTO_THE_JOB_S)
        # The fake engine is one process; it stands for its scheduler.
        pids = scheduler_pids(leader, {}) or [leader]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        stopped_at = time.time()
        found["stopped"] = [{"pid": pid, "stack": _stacks(pid)} for pid in pids]
        found["clients"] = [
            {"pid": one.pid, "command": " ".join(one.cmdline())[:200], "stack": _stacks(one.pid)}
            for one in psutil.Process(process.pid).children()
            if one.pid != leader
        ]
    found["returncode"] = process.wait()
    if leader is not None:
        found["seconds_to_the_end"] = round(time.time() - stopped_at, 1)
    folder = newest(options.runs / options.name)
    records = sorted(folder.glob("launches/*/cells/*/record.json")) if folder else []
    found["records"] = [json.loads(path.read_text(encoding="utf-8")) for path in records]
    (options.out / "hang.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for record in found["records"]:
        print(
            f"hang: {record['status']}, class {record.get('failure_class')}: {record.get('reason')}"
        )
    failed = [record["status"] == "failed" for record in found["records"]]
    return 0 if leader is not None and failed and all(failed) else 1


def _measured(runs: Path, process: subprocess.Popen[bytes], wait_s: float) -> int | None:
    """The server's process once its job runs; None: that never came."""
    ends = time.monotonic() + wait_s
    while time.monotonic() < ends and process.poll() is None:
        time.sleep(0.2)
        folder = newest(runs)
        notes = sorted(folder.glob("launches/*/launch.json")) if folder else []
        for note in notes:
            told = json.loads(note.read_text(encoding="utf-8"))
            logs = list(note.parent.glob("cells/*/job.log"))
            if told["ready_s"] is not None and told["ended_at"] is None and _serves(note, logs):
                return int(told["pid"])
    return None


def _serves(note: Path, logs: list[Path]) -> bool:
    """Whether the job's requests have reached the server."""
    if not logs:
        return False
    text = (note.parent / "server.log").read_text(encoding="utf-8", errors="replace")
    return "Decode batch" in text or "fake" in note.read_text(encoding="utf-8")


def _stacks(pid: int) -> dict[str, Any]:
    """What the kernel and, where it is there, py-spy tell of a process's threads."""
    threads = {}
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        threads[task.name] = {name: _read(task / name) for name in ("comm", "wchan", "stack")}
    spy = shutil.which("py-spy")
    python = "py-spy is not there"
    if spy:
        done = subprocess.run(
            [spy, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        python = done.stdout or done.stderr
    return {"threads": threads, "state": _state(pid), "python": python[-8000:]}


def _state(pid: int) -> str:
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    return next((line for line in lines if line.startswith("State:")), "gone")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        return f"not told: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main())
