"""The real GSM8K and GPQA, loaded through the `datasets` package, and whether they can be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.files import DataError

__all__ = ["SETS", "RealSet", "access_problem", "load"]


@dataclass(frozen=True, kw_only=True)
class RealSet:
    """Where a real set lives.

    Attributes:
        repository: Name on the Hugging Face hub.
        config: Name of the configuration.
        splits: The hub's split by ours (``test``, ``train``).
        gated: Whether its owners ask for an account and consent.
        columns: What a local copy must have, for messages.
    """

    repository: str
    config: str
    splits: dict[str, str]
    gated: bool
    columns: str


SETS = {
    "gsm8k": RealSet(
        repository="openai/gsm8k",
        config="main",
        splits={"test": "test", "train": "train"},
        gated=False,
        columns='"question" and "answer"',
    ),
    "gpqa": RealSet(
        repository="Idavidrein/gpqa",
        config="gpqa_diamond",
        splits={"test": "train"},  # the hub has all questions in one split, called train
        gated=True,
        columns='"Question", "Correct Answer" and "Incorrect Answer 1" to "3"',
    ),
}


def load(benchmark: str, *, split: str) -> list[dict[str, Any]]:
    """All rows of a real set's split, in its order.

    Raises:
        DataError: It cannot be loaded; one paragraph says why and what to do.
    """
    real = SETS[benchmark]
    if split not in real.splits:
        raise DataError(f"{real.repository} has no {split} split; give a file with `shots`")
    from datasets import load_dataset

    try:
        rows = load_dataset(real.repository, real.config, split=real.splits[split])
        return [dict(row) for row in rows]
    # Network, proxy, gate, cache and format errors of three packages share no base class, and
    # the reader's next step is the same after all of them.
    except Exception as error:
        raise DataError(f"{_advice(real)} ({type(error).__name__}: {error})") from error


def access_problem(benchmark: str) -> str | None:
    """Why the real set surely cannot be loaded here, seen without asking the network."""
    real = SETS[benchmark]
    if _cached(real):
        return None
    if _flag("HF_HUB_OFFLINE") or _flag("HF_DATASETS_OFFLINE"):
        return f"{_advice(real)} (the hub is switched off by HF_HUB_OFFLINE or HF_DATASETS_OFFLINE)"
    if real.gated and not _has_token():
        return f"{_advice(real)} (no token found)"
    return None


def _advice(real: RealSet) -> str:
    local = f"or point `data` at a local .jsonl or .parquet file with the columns {real.columns}"
    if real.gated:
        return (
            f"cannot load {real.repository}, which is gated: accept its terms on huggingface.co "
            f"and set HF_TOKEN, {local}"
        )
    return f"cannot load {real.repository} from huggingface.co: check the network, {local}"


def _hub_home() -> Path:
    default = Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HOME", default)).expanduser()


def _cached(real: RealSet) -> bool:
    owner, name = real.repository.split("/")
    home = _hub_home()
    datasets = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return (datasets / f"{owner}___{name}").is_dir() or (
        hub / f"datasets--{owner}--{name}" / "snapshots"
    ).is_dir()


def _has_token() -> bool:
    if any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")):
        return True
    file = Path(os.environ.get("HF_TOKEN_PATH", _hub_home() / "token"))
    return file.is_file() and bool(file.read_text().strip())


def _flag(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
