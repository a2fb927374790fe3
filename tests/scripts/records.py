"""Where the kept records of real GPUs lie, and plain ways to read them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "docs" / "h100"
GPU_PAGE = ROOT / "docs" / "gpu.md"
RUNS = sorted(path.parent for path in RECORDS.glob("*/runs/*/*/plan.json"))


def runs_of(experiment: str) -> list[Path]:
    return [run for run in RUNS if run.parent.name == experiment]


def name_of(run: Path) -> str:
    return f"{run.parent.name}-{run.name}"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def events(path: Path) -> list[dict[str, Any]]:
    """The events of a Kineto trace."""
    found: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return found
