"""How many kernels of each family a decode step has; the same on all ranks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from evals.comm_kernels.families import FAMILIES, mode_of, suspicious
from evals.comm_kernels.sequences import Collectives
from evals.comm_kernels.table import KernelTable

__all__ = ["count"]


def count(table: KernelTable, found: Collectives) -> dict[str, Any]:
    """Counts of every step of every rank.

    Returns:
        ``ranks``, ``steps``, ``skipped_steps``, ``kernels`` a step (of rank 0's first),
        ``families`` (kernels a step by family; {"min", "max"} where steps differ), ``modes`` (of
        MixedComm's kernels, a step) and ``unknown`` (kernels of no family that look like
        communication, a step, on any rank).
    """
    leader = table.ranks[0]
    inside = leader.order >= 0
    first = leader.name[(leader.step == 0) & inside]
    modes = Counter(
        mode_of(name)
        for name, family in zip(leader.names, leader.families(), strict=True)
        if family >= 0 and FAMILIES[family].name == "mixed"
        for _ in range(int(np.count_nonzero(first == leader.names.index(name))))
    )
    unknown: Counter[str] = Counter()
    for rank in table.ranks:
        mine = rank.name[(rank.step == 0) & (rank.order >= 0)]
        for place, number in zip(*np.unique(mine, return_counts=True), strict=True):
            if suspicious(rank.names[place]):
                unknown[rank.names[place]] = max(unknown[rank.names[place]], int(number))
    return {
        "ranks": len(table.ranks),
        "steps": table.steps,
        "skipped_steps": table.skipped_steps,
        "kernels": len(first),
        "families": _families(found, table.steps),
        "modes": {str(mode): number for mode, number in modes.items()},
        "unknown": dict(unknown),
    }


def _families(found: Collectives, steps: int) -> dict[str, Any]:
    families: dict[str, Any] = {}
    for place in sorted(set(found.family.tolist()), key=lambda place: FAMILIES[place].name):
        each = np.bincount(found.step[found.family == place], minlength=steps)
        least, most = int(each.min()), int(each.max())
        families[FAMILIES[place].name] = most if least == most else {"min": least, "max": most}
    return families
