"""Runs or resumes `servegate run` until a time, and stops it between two launches.

A launch that is broken off is started anew by --resume: on a machine that is paid for by the second
it is better not begun.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from evals.files import split_lines

__all__ = ["enough", "newest", "started"]


def main() -> int:
    """Exit code of servegate; 130 when it was stopped and can be resumed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", type=float, required=True, help="seconds since the epoch")
    parser.add_argument("--launch", type=float, default=115, help="seconds that a launch takes")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--name", required=True, help="the experiment's name")
    parser.add_argument("arguments", nargs="*", help="after --: those of a new `servegate run`")
    options = parser.parse_args()
    folder = newest(options.runs / options.name)
    if not enough(time.time(), options.until, options.launch):
        print(f"{options.name}: no time left to begin a launch", flush=True)
        return 130
    given = (
        ["--resume", str(folder)] if folder else [*options.arguments, "--out", str(options.runs)]
    )
    process = subprocess.Popen([sys.executable, "-P", "-m", "pipeline", "run", *given])
    stopped, seen = False, started(folder)
    while process.poll() is None:
        time.sleep(0.1)
        folder = newest(options.runs / options.name)
        count = started(folder)
        begun, seen = count > seen, count
        late = time.time() >= options.until
        if not stopped and (
            late or (begun and not enough(time.time(), options.until, options.launch))
        ):
            print(f"{options.name}: stopped for lack of time", flush=True)
            process.send_signal(signal.SIGINT)
            stopped = True
    return 130 if stopped else process.returncode


def enough(now: float, until: float, launch: float) -> bool:
    """Whether a launch that begins now is over in time."""
    return now + launch <= until


def newest(folder: Path) -> Path | None:
    """The run folder that was begun last; None: there is none."""
    found = sorted(path.parent for path in folder.glob("*/plan.json"))
    return found[-1] if found else None


def started(folder: Path | None) -> int:
    """How many launches were begun, by the events of a run."""
    if folder is None or not (folder / "events.jsonl").exists():
        return 0
    lines = split_lines((folder / "events.jsonl").read_bytes())
    count = 0
    for line in lines:
        try:
            count += json.loads(line).get("event") == "launch_started"
        except ValueError:  # the last line, half written
            continue
    return count


if __name__ == "__main__":
    sys.exit(main())
