"""The reference handler on real gloo processes, for every split of 2, 4 and 8 ranks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine


def run_ranks(world: int, folder: Path) -> list[dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "tests.launchers.plugins.mixed_comm.ranks",
        str(world),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize("world", [2, 4, 8])
def test_operations_are_rounded_sums_and_bitwise_equal_on_peers(world: int, tmp_path: Path) -> None:
    ranks = run_ranks(world, tmp_path)
    for rank, report in enumerate(ranks):
        assert report["problems"] == [], f"rank {rank}"
        assert report["details"] == {"backend": "gloo"}
    cases = ranks[0]["digests"]
    # 16 calls (7 row counts, 5 repeats, fp16, 3 special inputs) of 2 operations for each split.
    assert len(cases) == {2: 32, 4: 64, 8: 96}[world]
    for case in cases:
        digests = [report["digests"][case] for report in ranks]
        tp = int(case.split(", tp=")[1].split(",")[0])
        gathers = "ALLGATHER" in case
        for rank, digest in enumerate(digests):
            leader = 0 if gathers else rank // tp * tp
            assert digest == digests[leader], f"rank {rank} and {leader}: {case}"
    reasons = {"no rows": "empty", "integers": "dtype", "single precision": "dtype"}
    reasons |= {"half of an access": "unaligned"}
    for report in ranks:
        assert report["passed"] == {
            f"tp {tp}": {
                f"{name}, {direction}": reason
                for name, reason in reasons.items()
                for direction in ("gather", "scatter")
            }
            for tp in (1, 2, 4)
            if tp < world
        }
