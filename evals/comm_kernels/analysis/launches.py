"""One set of figures from several launches: medians over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from evals.comm_kernels.analysis.figures import FamilyFigures, Figures
from evals.comm_kernels.traces.table import TraceError

__all__ = ["over_launches"]

_TIMES = (
    "with_imbalance_ms",
    "without_imbalance_ms",
    "imbalance_ms",
    "span_ms",
    "overlap_ms",
    "kernels_per_step",
    "compute_ms",
    "beside_ms",
    "step_ms",
    "exposed_ms",
    "other_kernels_ms",
    "gaps_ms",
)


def over_launches(launches: Sequence[Figures]) -> Figures:
    """Medians over launches of what are medians over steps; steps are summed.

    A figure that one launch lacks is lacking here, too.

    Args:
        launches: One or more captures of the same arm, each of its own launch.

    Raises:
        TraceError: They differ in ranks or in the families that ran, so are not the same thing.
    """
    first = launches[0]
    for number, other in enumerate(launches[1:], 1):
        if other.ranks != first.ranks:
            raise TraceError(
                f"capture {number} has {other.ranks} ranks and the first has {first.ranks}; only "
                "launches of one arm and layout have a median"
            )
        if other.families.keys() != first.families.keys():
            raise TraceError(
                f"capture {number} ran {_listed(other)} and the first {_listed(first)}; only "
                "launches of one arm and layout have a median"
            )
    families = {
        name: FamilyFigures(
            with_imbalance_ms=median(one.families[name].with_imbalance_ms for one in launches),
            without_imbalance_ms=_median(
                [one.families[name].without_imbalance_ms for one in launches]
            ),
            kernels_per_step=median(one.families[name].kernels_per_step for one in launches),
        )
        for name in first.families
    }
    names = dict.fromkeys(name for one in launches for name in one.compute)
    reasons = dict.fromkeys(reason for one in launches for reason in one.skipped)
    medians: dict[str, Any] = {
        name: _median([getattr(one, name) for one in launches]) for name in _TIMES
    }
    return replace(
        first,
        steps=sum(one.steps for one in launches),
        skipped_steps=sum(one.skipped_steps for one in launches),
        skipped={why: sum(one.skipped.get(why, 0) for one in launches) for why in reasons},
        families=families,
        compute={name: median(one.compute.get(name, 0.0) for one in launches) for name in names},
        refused=next((one.refused for one in launches if one.refused), ""),
        **medians,
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None


def _listed(figures: Figures) -> str:
    return ", ".join(figures.families) if figures.families else "no communication"
