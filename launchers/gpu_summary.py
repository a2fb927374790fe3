"""What many samples of GPUs come down to; pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Sample", "summary_of"]

# Reasons that say nothing is wrong: an idle card, and clocks that somebody set.
_QUIET = ("gpu_idle", "applications_clocks_setting")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One GPU at one moment; None for what the card does not tell.

    Attributes:
        at_s: Seconds since the first sample.
        gpu: NVML's index.
        sm_mhz: Clock of the multiprocessors.
        memory_mhz: Clock of the memory.
        temperature_c: Of the chip.
        power_w: Drawn.
        reasons: Why the clock is not higher, by NVML's names.
    """

    at_s: float
    gpu: int
    sm_mhz: float | None
    memory_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    reasons: Sequence[str] | None


def summary_of(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """One entry a GPU in order: samples, spans of what was read, and shares of each reason.

    ``limited`` gives, for each reason but idleness and set clocks, the share of those samples that
    have it in which the card was not idle: a server that waits for requests is not throttled less.
    ``busy_samples`` counts them.
    """
    found: list[dict[str, Any]] = []
    for gpu in sorted({sample.gpu for sample in samples}):
        own = [sample for sample in samples if sample.gpu == gpu]
        told = [sample.reasons for sample in own if sample.reasons is not None]
        busy = [reasons for reasons in told if "gpu_idle" not in reasons]
        counted = Counter(name for reasons in busy for name in reasons if name not in _QUIET)
        found.append(
            {
                "gpu": gpu,
                "samples": len(own),
                "sm_mhz": _span([sample.sm_mhz for sample in own]),
                "memory_mhz": _span([sample.memory_mhz for sample in own]),
                "temperature_c": _span([sample.temperature_c for sample in own]),
                "power_w": _span([sample.power_w for sample in own]),
                "busy_samples": len(busy) if told else None,
                "limited": {name: count / len(busy) for name, count in sorted(counted.items())},
            }
        )
    return found


def _span(values: Sequence[float | None]) -> dict[str, float] | None:
    """Least, median and largest; None where none was told."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"min": min(known), "median": statistics.median(known), "max": max(known)}
