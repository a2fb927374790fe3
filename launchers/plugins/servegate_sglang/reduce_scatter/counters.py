"""How often each hook was asked and changed the answer, kept in a file of each rank."""

import json
import logging
import os
from pathlib import Path
from typing import Any

# Version 1: first form.
SCHEMA_VERSION = 1

logger = logging.getLogger(__name__)


class Tally:
    """Counts; written at the first call of each kind and at every power of two of all calls."""

    def __init__(self, folder: Path | None, sglang: str) -> None:
        """Count for a process that runs SGLang `sglang`; `folder` None: no file."""
        self._folder = folder
        self._sglang = sglang
        self._counts: dict[str, dict[str, int]] = {}
        self._calls = 0

    def count(self, switch: str, *, changed: bool) -> None:
        """One decision, and whether it came out otherwise than SGLang's own."""
        first = switch not in self._counts
        counts = self._counts.setdefault(switch, {"asked": 0, "changed": 0})
        first = first or (changed and counts["changed"] == 0)
        counts["asked"] += 1
        counts["changed"] += changed
        self._calls += 1
        if first or self._calls & (self._calls - 1) == 0:
            self._write()

    def document(self) -> dict[str, Any]:
        """What the file says now; rank None before torch.distributed is up."""
        return {
            "schema_version": SCHEMA_VERSION,
            "rank": _rank(),
            "pid": os.getpid(),
            "sglang_version": self._sglang,
            "decisions": {switch: dict(counts) for switch, counts in self._counts.items()},
        }

    def _write(self) -> None:
        rank = _rank()
        if self._folder is None or rank is None:
            return
        path = self._folder / f"reduce-scatter-rank{rank}.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)
        except OSError:
            # Serving goes on; whoever asks for proof finds no file.
            logger.exception("REDUCE_SCATTER_PLUGIN cannot write %s; it gives up on it", path)
            self._folder = None


def _rank() -> int | None:
    import torch

    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return int(torch.distributed.get_rank())
