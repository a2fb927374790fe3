"""What the script on the GPU host sends back, and what it leaves out, without a GPU."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.scripts.records import ROOT

_TRACES = Path("results", "runs", "h100-nsys", "1", "launches", "0", "cells", "kernels", "traces")


def onhost(folder: Path, *parts: str) -> str:
    """What it prints; the packed results lie in back."""
    (folder / "payload").mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "scripts/gpu_smoke/onhost.sh", "585", str(folder / "payload"), *parts],
        cwd=ROOT, env=os.environ | {"S": str(folder), "OUT": str(folder / "back")},
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Files that nsys and small_nsys leave, one of them written again since it was made small."""
    folder = tmp_path / _TRACES
    folder.mkdir(parents=True)
    for at, name in enumerate(
        (
            "raw.sqlite", "raw.nsys-rep", "raw.qdstrm", "raw.sqlite-journal", "half.sqlite",
            "half.sqlite.trimmed", "small.sqlite", "small.sqlite.small", "again.sqlite.small",
            "again.sqlite",
        )
    ):  # fmt: skip
        (folder / name).write_text("SECRET=1")
        os.utime(folder / name, (1_000 + at, 1_000 + at))
    return folder


def test_only_exports_that_were_made_small_and_not_written_since_leave_the_host(
    traces: Path, tmp_path: Path
) -> None:
    onhost(tmp_path)
    [packed] = (tmp_path / "back").iterdir()
    with tarfile.open(packed) as tar:
        names = {Path(name).name for name in tar.getnames() if Path(name).parent == _TRACES}
    assert names == {"small.sqlite", "small.sqlite.small", "again.sqlite.small"}
    assert {path.name for path in traces.iterdir()} == names


def test_without_all_weights_nothing_that_needs_them_is_begun(tmp_path: Path) -> None:
    (tmp_path / "payload" / "2").mkdir(parents=True)
    (tmp_path / "payload" / "2" / "weights.0.xz").write_bytes(b"")
    told = onhost(tmp_path, "weights", "together")
    assert "weights: the other part is not here yet\n--- weights failed" in told
    assert "--- together left out: no weights yet" in told
    assert not list((tmp_path / "results").iterdir())
