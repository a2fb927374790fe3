"""What a run takes beside its servers and jobs, and beside two shell scripts for the same work.

Usage: python -m benchmarks.run_overhead [SIZES]

Three backends (nccl, nccl-symmetric, mixed-comm) on 1 to 3 attention DP sizes (3 unless told), on
fake servers that take 20 s to start: 100 questions of GSM8K and the study's speed load, once each.

- Overhead: wall time of `servegate run`, its own start and its report included, that is not the
  start of a server, a job's process, or the stop of a server: at most 3 %. Wall time is what
  others on the machine make it, so the load average stands beside it.
- The same work by two scripts after the study of sglang#23713: one for accuracy and one for speed,
  each of which starts a server for every backend and size, waits for its health every second, runs
  one command, stops the server and sleeps 10 s. They run the very commands that servegate runs, and
  wait for HTTP 200 where the study's took 503 for success. servegate needs at most 0.6 of their
  time (the last line), since one start serves both jobs and nothing sleeps.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from evals import JOBS
from evals.job import Endpoint
from launchers.server.ports import free_port
from pipeline.plan.model import Launch, Plan
from pipeline.plan.text import shell_command
from pipeline.records.folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
OVERHEAD, SHARE = 0.03, 0.6
START_S, SLEEP_S = 20.0, 10


def experiment(sizes: list[int]) -> dict[str, Any]:
    """The study's matrix on the fake engine, as the YAML says it."""
    return {
        "name": "overhead",
        "model": {"path": "fake/qwen3.5"},
        "engine": {
            "name": "fake",
            "fake": {
                "ready_after_s": START_S, "itl_ms": 14.0, "ttft_ms": 200.0, "answer_ttft_ms": 200.0,
                "answer_itl_ms": 10.0,
            },
        },
        "layouts": [{"tp": 8, "attention_dp": sizes, "ep": 4}],
        "arms": {name: {"preset": name} for name in ("nccl", "nccl-symmetric", "mixed-comm")},
        "reference": "nccl",
        "jobs": {
            "gsm8k": {
                "kind": "accuracy", "benchmark": "gsm8k", "examples": 100, "concurrency": 16,
                "data": str(ROOT / "experiments" / "data" / "gsm8k-mini"), "max_tokens": 256,
            },
            "latency": {
                "kind": "latency", "input_len": 8192, "output_len": 24, "concurrency": 16,
            },
        },
        "gates": {
            "gsm8k": {"score": {"margin": 0.03}}, "latency": {"median_itl_ms": {"margin": 0.1}},
        },
    }  # fmt: skip


def run_servegate(file: Path, runs: Path) -> tuple[float, RunFolder, Plan]:
    """Seconds of one whole run, and what it left."""
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "pipeline", "run", str(file), "--out", str(runs)]
    done = subprocess.run(
        [*command, "--exit-by", "records", "--allow-impossible"],
        check=False,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"the run failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    (folder,) = (runs / "overhead").iterdir()
    run = RunFolder(folder)
    return seconds, run, run.load_plan()


def accounted(run: RunFolder, plan: Plan) -> tuple[float, float, float]:
    """Seconds in which servers started, jobs ran, and servers stopped."""
    started = stopped = 0.0
    for launch in plan.launches:
        note = json.loads(run.launch(launch.id).launch.read_text(encoding="utf-8"))
        started += note["ready_s"]
        stopped += note["stopped"]["seconds"]
    jobs = sum(float(record.details["job_seconds"]) for record in run.records(plan))
    return started, jobs, stopped


def script(plan: Plan, job: str, folder: Path) -> str:
    """One of the two scripts: every launch anew, one job on each."""
    lines = ["set -eu", f"export SERVEGATE_WITNESS_DIR={shlex.quote(str(folder))}"]
    for launch in plan.launches:
        lines += _turn(plan, launch, job, folder)
    return "\n".join(lines) + "\n"


def _turn(plan: Plan, launch: Launch, job: str, folder: Path) -> list[str]:
    cell = next(cell for cell in launch.cells if cell.job == job)
    place = folder / cell.id.replace("/", "-")
    place.mkdir()
    port = free_port(launch.host)
    url = f"http://{launch.host}:{port}"
    endpoint = Endpoint(
        base_url=url, model=plan.model.served_name, tokenizer=plan.model.tokenizer,
        engine=plan.engine, python=plan.python,
    )  # fmt: skip
    kind = JOBS[cell.kind]
    command = kind.argv(kind.settings_type.model_validate(cell.settings), endpoint, place)
    server = shell_command(launch).replace("{port}", str(port))
    return [
        f"setsid {server} > {shlex.quote(str(place / 'server.log'))} 2>&1 &",
        "server=$!",
        f"until curl -sf {url}/health > /dev/null; do sleep 1; done",
        f"{shlex.join(command)} > {shlex.quote(str(place / 'job.log'))} 2>&1",
        'kill -TERM -- "-$server"',
        'wait "$server" || true',
        f"sleep {SLEEP_S}",
    ]


def run_scripts(plan: Plan, folder: Path) -> float:
    """Seconds that both scripts take, one after the other."""
    total = 0.0
    for job in plan.jobs:
        place = folder / job
        place.mkdir()
        file = place / "run.sh"
        file.write_text(script(plan, job, place), encoding="utf-8")
        began = time.monotonic()
        subprocess.run(["bash", str(file)], check=True, env=os.environ)
        total += time.monotonic() - began
    return total


def main(sizes: int) -> int:
    """Exit code 0 if both limits are kept."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        file = folder / "overhead.yaml"
        file.write_text(yaml.safe_dump(experiment([2, 4, 8][:sizes])), encoding="utf-8")
        ours, run, plan = run_servegate(file, folder / "runs")
        started, jobs, stopped = accounted(run, plan)
        rest = ours - started - jobs - stopped
        overhead = rest / ours
        print(
            f"servegate: {ours:.1f} s; starts {started:.1f}, jobs {jobs:.1f}, stops {stopped:.1f}, "
            f"everything else {rest:.1f} s: {overhead:.2%} (limit {OVERHEAD:.0%}); load average "
            f"{os.getloadavg()[2]:.1f} on {os.cpu_count()} cores",
            flush=True,
        )
        theirs = run_scripts(plan, folder)
    print(f"two scripts: {theirs:.1f} s for {len(plan.launches)} servers each")
    holds = overhead <= OVERHEAD and ours / theirs <= SHARE
    verdict = "holds" if holds else "falls short"
    print(f"benchmark run_overhead: {ours / theirs:.3f} (limit {SHARE}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
