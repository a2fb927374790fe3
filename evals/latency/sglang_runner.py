"""Runs SGLang's serving benchmark several times in one process, each as its command line would.

This file is started by its path on the engine's own interpreter, which may be Python 3.10 and
need not have servegate: it uses the standard library and `sglang` alone.
"""

from __future__ import annotations

import argparse
import os
import sys


def main() -> None:
    """Call the benchmark's command line --runs times; {run} in --output counts from 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--output", required=True, help="result file, with {run} for the number")
    parser.add_argument("arguments", nargs="*", help="after --: the benchmark's own flags")
    options = parser.parse_args()
    # Python puts this file's folder first, where `data` and `metrics` would hide other packages'.
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != here]

    from sglang.benchmark import serving

    for run in range(1, options.runs + 1):
        output = options.output.replace("{run}", str(run))
        sys.argv = ["serving.py", *options.arguments, "--output-file", output]
        print(f"servegate: run {run} of {options.runs}", flush=True)
        serving.cli_main()


if __name__ == "__main__":
    main()
