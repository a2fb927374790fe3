"""Puts a full batch of requests on a server and has its profiler bracket some decode steps."""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
import urllib.request

from scripts.gpu_smoke.asking import post


def main() -> int:
    """Exit code 1 when the server was not up in time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--wait", type=float, required=True, help="for /health, seconds")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    if not _up(options.base_url, options.wait):
        print("the server was not up in time")
        return 1
    rng = random.Random(0)  # noqa: S311  prompts, not secrets
    prompts = [[rng.randrange(100, 40000) for _ in range(256)] for _ in range(options.batch)]
    threads = [
        threading.Thread(target=_ask, args=(options.base_url, prompt), daemon=True)
        for prompt in prompts
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.8)  # all are past prefill by then: 256 tokens each
    # cudaProfilerStart and Stop only: the trace belongs to the profiler around the server.
    body = {"num_steps": options.steps, "activities": ["CUDA_PROFILER"]}
    print("profile:", post(options.base_url, "/start_profile", body, timeout_s=30))
    for thread in threads:
        thread.join(30)
    return 0


def _up(base_url: str, wait_s: float) -> bool:
    ends = time.monotonic() + wait_s
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"{base_url}/health", timeout=2).close()  # noqa: S310
        except OSError:
            time.sleep(0.5)
        else:
            return True
    return False


def _ask(base_url: str, ids: list[int]) -> None:
    sampling = {"temperature": 0, "max_new_tokens": 400, "ignore_eos": True}
    try:
        post(base_url, "/generate", {"input_ids": ids, "sampling_params": sampling})
    except OSError as error:
        print(f"a request ended: {error}")


if __name__ == "__main__":
    sys.exit(main())
