"""Times the analysis of torch traces against orjson's parsing of them, and HolisticTraceAnalysis.

Usage: python -m benchmarks.kineto_analysis [STEPS]. Makes traces of 8 ranks x 100 steps x 400
kernels as plain JSON, and then three times in turn parses all of them with `orjson.loads` and
analyses them whole. The figure is the fastest analysis over the fastest parsing. Where
HolisticTraceAnalysis is installed (the extra `benchmarks`), it is given the same files, and must
take at least 5 times as long for reading them and for its own questions that come closest: kernels
by kind, and overlap of communication and computation.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.generated_traces import Schedule, write_kineto
from benchmarks.nsys_analysis import parts
from evals.comm_kernels.analysis.capture import Known, analyse

RANKS, STEPS, ROUNDS = 8, 100, 3
LIMIT, LEAST_HTA = 3.0, 5.0

_HTA = """
import logging, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from hta.trace_analysis import TraceAnalysis
files = dict(enumerate(sys.argv[2:]))
begin = time.perf_counter()
found = TraceAnalysis(trace_files=files, trace_dir=sys.argv[1])
found.get_gpu_kernel_breakdown(visualize=False)
found.get_comm_comp_overlap(visualize=False)
print(time.perf_counter() - begin)
"""


def ours(paths: Sequence[Path]) -> float:
    """Milliseconds without imbalance, which the traces were made with."""
    found = analyse(paths, Known(attention_tp=2, attention_dp=4, ep=8)).figures
    assert found.without_imbalance_ms is not None
    return found.without_imbalance_ms


def hta_seconds(paths: Sequence[Path]) -> float | None:
    """The fastest of its runs, imports left out; None where it is not installed."""
    if importlib.util.find_spec("hta") is None:
        return None
    argv = [sys.executable, "-c", _HTA, str(paths[0].parent), *map(str, paths)]
    runs = [
        subprocess.run(
            argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(ROUNDS)
    ]
    return min(float(run.stdout.splitlines()[-1]) for run in runs)


def main(steps: int) -> int:
    """Exit code 0 if the limits hold that could be checked."""
    with tempfile.TemporaryDirectory() as folder:
        kernels, answers = Schedule(ranks=RANKS, steps=steps, parts=parts()).run()
        paths = write_kineto(Path(folder), kernels, RANKS)
        del kernels
        size = sum(path.stat().st_size for path in paths) / 1e6
        parsings, analyses = [], []
        found = 0.0
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            for path in paths:
                orjson.loads(path.read_bytes())
            middle = time.perf_counter()
            found = ours(paths)
            parsings.append(middle - begin)
            analyses.append(time.perf_counter() - middle)
        peer = hta_seconds(paths)
    figure = min(analyses) / min(parsings)
    right = abs(found - answers.cut()[1]) < 1e-9
    took = f"orjson.loads {min(parsings):.2f} s, analysis {min(analyses):.2f} s"
    print(f"{RANKS} traces, {size:.0f} MB: {took}")
    print(f"time without imbalance {found:.6f} ms, made with {answers.cut()[1]:.6f} ms")
    fast = True
    if peer is None:
        print("HolisticTraceAnalysis is not installed (extra benchmarks): not compared with it")
    else:
        times = peer / min(analyses)
        fast = times >= LEAST_HTA
        print(
            f"HolisticTraceAnalysis {peer:.2f} s, {times:.1f} times ours (at least {LEAST_HTA:g})"
        )
    holds = right and fast and figure <= LIMIT
    verdict = "holds" if holds else "falls short"
    print(f"benchmark kineto_analysis: {figure:.2f} (limit {LIMIT:.2f}) {verdict}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS))
