"""What a cell of the comm-kernels job holds: its client writes it, the job reads it."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["FACTS", "TRACES", "layers_of", "trace_files"]

TRACES = "traces"
FACTS = "traced.json"
_PATTERNS = ("*.trace.json.gz", "*.trace.json", "*.sqlite")


def trace_files(folder: Path) -> list[Path]:
    """The traces of all ranks, by name."""
    return sorted(path for pattern in _PATTERNS for path in folder.glob(pattern))


def layers_of(model: object) -> int | None:
    """The number of layers in a local model's config.json; None where there is none to read."""
    if not isinstance(model, str):
        return None
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    inner = config.get("text_config", config)  # multimodal models nest it
    layers = inner.get("num_hidden_layers")
    return layers if isinstance(layers, int) else None
