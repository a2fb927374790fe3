"""Times the analysis of a large nsys export against SQLite's own sum over one of its columns.

Usage: python -m benchmarks.nsys_analysis [STEPS]. Makes an export of 8 ranks x 2,000 steps x 400
kernels (6.4 million rows, 0.5 GB, in a temporary folder), and then, in a process of its own and
seven times in turn, lets SQLite sum the column `end` and analyses the whole file. The figure is the
median of the seven ratios of analysis to sum, both on one and the same core, so that other work on
the machine slows both. The same on all cores, where only the analysis uses more than one, is
printed beside it. Peak memory of both processes must stay below 1.5 GB, and the answer must be the
one that the export was made with.
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
from statistics import median

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
# SQLite needs 3.5 sums to find the four numbers of every row alone.
LIMIT, LIMIT_GB = 14.0, 1.5
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


def measure(path: Path, cores: int) -> dict[str, float]:
    """Median ratio of analysis to sum on so many cores, peak memory, and the answer."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    ratios = []
    answer = None
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        with closing(sqlite3.connect(path)) as database:
            database.execute('SELECT sum("end") FROM CUPTI_ACTIVITY_KIND_KERNEL').fetchone()
        middle = time.perf_counter()
        found = analyse([path], Known(attention_tp=2, attention_dp=4, ep=8)).figures
        took, summed = time.perf_counter() - middle, middle - begin
        ratios.append(took / summed)
        answer = found.without_imbalance_ms
        print(f"sum {summed:.2f} s, analysis {took:.2f} s", file=sys.stderr, flush=True)
    assert answer is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"ratio": median(ratios), "gb": peak / 1e6, "answer": answer}


def measured(path: Path, cores: int) -> dict[str, float]:
    """The same, in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.nsys_analysis", "--measure", str(path), str(cores)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(steps: int) -> int:
    """Exit code 0 if the limits hold."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.sqlite"
        answers = Answers()
        made = Schedule(ranks=RANKS, steps=steps, parts=parts())
        write_nsys(path, made.stream(answers), RANKS)
        cores = len(os.sched_getaffinity(0))
        alone, beside = measured(path, 1), measured(path, cores)
    truth = answers.cut()[1]
    peak = max(alone["gb"], beside["gb"])
    print(f"load of the last minute {os.getloadavg()[0]:.1f} on {cores} cores")
    print(f"on all cores {beside['ratio']:.2f}")
    print(f"rows {RANKS * steps * 400}, peak memory {peak:.2f} GB (limit {LIMIT_GB} GB)")
    print(f"time without imbalance {alone['answer']:.6f} ms, made with {truth:.6f} ms")
    right = all(abs(found["answer"] - truth) < 1e-9 for found in (alone, beside))
    figure = alone["ratio"]
    holds = right and peak < LIMIT_GB and figure <= LIMIT
    verdict = "holds" if holds else "falls short"
    print(f"benchmark nsys_analysis: {figure:.2f} (limit {LIMIT:.2f}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS))
