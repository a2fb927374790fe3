"""Times the analysis of a large nsys export against SQLite's own sum over one of its columns.

Usage: python -m benchmarks.nsys_analysis [STEPS]. Makes an export of 8 ranks x 2,000 steps x 400
kernels (6.4 million rows, 0.5 GB, in a temporary folder), and then, in a process of its own and
seven times in turn, lets SQLite sum the column `end` and analyses the whole file. The figure is the
fastest analysis over the fastest sum. The analysis uses all cores and the sum one, so other work on
the machine spoils the figure; the load is printed. Peak memory of that process must stay below
1.5 GB, and the answer must be the one that the export was made with.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.generated_traces import (
    ALL_GATHER,
    REDUCE_SCATTER,
    Answers,
    Collective,
    Compute,
    Part,
    Schedule,
    write_nsys,
)
from evals.comm_kernels.analysis.capture import Known, analyse

RANKS, STEPS, ROUNDS = 8, 2000, 7
LIMIT, LIMIT_GB = 6.0, 1.5
PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))


def parts() -> list[Part]:
    """399 kernels of a step; the sampler's is the 400th. Names as many as a real step has."""
    layers: list[Part] = []
    for layer in range(40):
        layers += [Compute(5_000, 30_000, f"void gemm_{layer}_{n}<128>(P)") for n in range(3)]
        layers += [Collective(REDUCE_SCATTER, 3_001, PAIRS), Collective(ALL_GATHER, 5_003)]
        layers += [Compute(5_000, 30_000, f"void moe_{layer}_{n}<64>(P)") for n in range(3)]
        layers += [Collective(REDUCE_SCATTER, 5_009), Collective(ALL_GATHER, 3_011, PAIRS)]
    return layers[1:]


def measure(path: Path) -> dict[str, float]:
    """Seconds of the fastest sum and the fastest analysis, peak memory, and the answer."""
    sums, analyses = [], []
    answer = None
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        with closing(sqlite3.connect(path)) as database:
            database.execute('SELECT sum("end") FROM CUPTI_ACTIVITY_KIND_KERNEL').fetchone()
        middle = time.perf_counter()
        found = analyse([path], Known(attention_tp=2, attention_dp=4, ep=8)).figures
        sums.append(middle - begin)
        analyses.append(time.perf_counter() - middle)
        answer = found.without_imbalance_ms
        print(f"sum {sums[-1]:.2f} s, analysis {analyses[-1]:.2f} s", file=sys.stderr, flush=True)
    assert answer is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"sum": min(sums), "analysis": min(analyses), "gb": peak / 1e6, "answer": answer}


def main(steps: int) -> int:
    """Exit code 0 if the limits hold."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.sqlite"
        answers = Answers()
        made = Schedule(ranks=RANKS, steps=steps, parts=parts())
        write_nsys(path, made.stream(answers), RANKS)
        argv = [sys.executable, "-m", "benchmarks.nsys_analysis", "--measure", str(path)]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    truth = answers.cut()[1]
    figure = found["analysis"] / found["sum"]
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load of the last minute {os.getloadavg()[0]:.1f}")
    print(f"rows {RANKS * steps * 400}, peak memory {found['gb']:.2f} GB (limit {LIMIT_GB} GB)")
    print(f"time without imbalance {found['answer']:.6f} ms, made with {truth:.6f} ms")
    right = abs(found["answer"] - truth) < 1e-9 and found["gb"] < LIMIT_GB
    holds = right and figure <= LIMIT
    verdict = "holds" if holds else "falls short"
    print(f"benchmark nsys_analysis: {figure:.2f} (limit {LIMIT:.2f}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS))
