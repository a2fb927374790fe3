"""How many comparisons of an experiment share its error rate; pure."""

from __future__ import annotations

from collections.abc import Mapping

from evals.metrics import METRICS
from pipeline.experiment.gates import Gate

__all__ = ["accuracy_alarms", "speed_alarms"]

Gates = Mapping[str, Mapping[str, Gate]]
"""Gates by job and metric."""


def accuracy_alarms(gates: Gates, *, layouts: int, arms: int) -> int:
    """Comparisons of fractions: arms, layouts, and the reference's own layouts; at least 1.

    Args:
        gates: Of the experiment.
        layouts: Each attention DP size is one.
        arms: The reference included.
    """
    gated = [
        name for of in gates.values() for name in of if METRICS[name].compared_as == "fraction"
    ]
    own = gated.count("score") * layouts if layouts > 1 else 0
    return max(1, len(gated) * layouts * (arms - 1) + own)


def speed_alarms(gates: Gates, *, layouts: int, arms: int) -> int:
    """Comparisons of latency and throughput; at least 1. Arguments as above."""
    gated = [name for of in gates.values() for name in of if METRICS[name].compared_as == "ratio"]
    return max(1, len(gated) * layouts * (arms - 1))
