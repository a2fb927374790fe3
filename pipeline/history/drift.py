"""Where a series of nights changed its level for good: apache-otava's change points."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict

__all__ = ["LEAST_NIGHTS", "Shift", "otava_missing", "shifts"]

LEAST_NIGHTS = 6
"""With fewer no division leaves three nights on each side."""

# Otava's own defaults (Hunter, arXiv 2301.03034); a nightly looks at one new point a night.
_WINDOW, _MAX_P = 50, 0.001


class Shift(BaseModel):
    """One lasting change of level.

    Attributes:
        index: The first night of the new level, in the series.
        before: Mean of the nights before it, back to the shift before.
        after: Mean of the nights from it on, up to the next shift.
        p: Otava's p-value, of Student's t between the two sides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    before: float
    after: float
    p: float


def otava_missing() -> str:
    """Why nobody looked for drift; "" if apache-otava is there."""
    if find_spec("otava") is None:
        return "drift was not looked for: apache-otava is not installed (servegate[drift])"
    return ""


def shifts(values: Sequence[float]) -> list[Shift]:
    """Lasting changes of level in a series, one value a night, by time.

    E-divisive with Student's t in place of permutations, as in M. Fleming et al., "Hunter: Using
    Change Point Detection to Hunt for Performance Regressions", ICPE 2023, by apache-otava. It
    finds a level that stays, not one bad night.

    Args:
        values: One value a night; fewer than :data:`LEAST_NIGHTS` show nothing.

    Raises:
        ModuleNotFoundError: apache-otava is not installed (:func:`otava_missing`).
    """
    from otava.analysis import compute_change_points

    if len(values) < LEAST_NIGHTS:
        return []
    found, _ = compute_change_points(list(values), window_len=_WINDOW, max_pvalue=_MAX_P)
    return [
        Shift(
            index=int(point.index),
            before=float(point.stats.mean_1),
            after=float(point.stats.mean_2),
            p=float(point.stats.pvalue),
        )
        for point in found
    ]
