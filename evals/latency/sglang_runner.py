"""Runs SGLang's serving benchmark, once or several times in one process, as its command line would.

This file is started by its path on the engine's own interpreter, which may be Python 3.10 and
need not have servegate: it uses the standard library and `sglang` alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Call the benchmark's command line --runs times; {run} in --output counts from 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--output", required=True, help="result file, with {run} for the number")
    parser.add_argument("arguments", nargs="*", help="after --: the benchmark's own flags")
    options = parser.parse_args()
    # Beside this file, whose folder Python puts first for a script; there is no package here.
    from loop_lag import LoopLag  # type: ignore[import-not-found]

    # In that folder `data` and `metrics` would hide other packages'.
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != here]

    from sglang.benchmark import serving

    lag = LoopLag()
    _sample(serving, lag)
    for run in range(1, options.runs + 1):
        output = options.output.replace("{run}", str(run))
        sys.argv = ["serving.py", *options.arguments, "--output-file", output]
        print(f"servegate: run {run} of {options.runs}", flush=True)
        serving.cli_main()
        lag.write(Path(output).with_suffix(".lag.json"))


def _sample(serving: Any, lag: Any) -> None:  # noqa: ANN401 - neither has types here
    """Have the loop's lag sampled from the first request that is sent to the last answer.

    ``benchmark()`` takes its requests from ``get_request`` after warm-up and flush, and hands its
    answers to ``calculate_metrics`` (0.5.16 to 0.5.23). A version without these is not sampled.
    """
    send = getattr(serving, "get_request", None)
    summarize = getattr(serving, "calculate_metrics", None)
    if send is None or summarize is None:
        return

    def get_request(*args: object, **kwargs: object) -> object:
        try:
            lag.start()
        except OSError as error:
            print(f"servegate: the client's loop lag is not sampled: {error}", flush=True)
        return send(*args, **kwargs)

    def calculate_metrics(*args: object, **kwargs: object) -> object:
        lag.stop()
        return summarize(*args, **kwargs)

    serving.get_request = get_request
    serving.calculate_metrics = calculate_metrics


if __name__ == "__main__":
    main()
