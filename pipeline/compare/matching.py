"""Which side of one folder is compared with which of the other; pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.compare.sides import Side

__all__ = ["NothingToCompare", "matched"]


class NothingToCompare(ValueError):
    """No two sides belong together; the message says what each folder has."""


def matched(
    references: Sequence[Side],
    others: Sequence[Side],
    *,
    reference_arm: str | None,
    arm: str | None,
) -> list[tuple[Side, Side]]:
    """Pairs of the same benchmark, layout and arm; a folder without layouts and arms fits all.

    Args:
        references: Of the first folder.
        others: Of the second.
        reference_arm: Only this arm of the first; with it, or with `arm`, names need not be alike.
        arm: Only this arm of the second.

    Raises:
        NothingToCompare: There is no such pair.
    """
    chosen = reference_arm is not None or arm is not None
    left = [side for side in references if reference_arm in (None, side.arm)]
    right = [side for side in others if arm in (None, side.arm)]
    pairs = [
        (one, other)
        for one in left
        for other in right
        if one.benchmark == other.benchmark
        and (one.job == other.job or not (one.arm and other.arm))
        and _alike(one.layout, other.layout)
        and (chosen or _alike(one.arm, other.arm))
    ]
    if not pairs:
        raise NothingToCompare(
            "no two sides ask the same benchmark on the same layout"
            f"{'' if chosen else ' with the same arm (--reference-arm and --arm name others)'}; "
            f"the first has {_told(left)}, the second {_told(right)}"
        )
    return pairs


def _alike(one: str, other: str) -> bool:
    return not one or not other or one == other


def _told(sides: Sequence[Side]) -> str:
    if not sides:
        return "no such answers"
    return ", ".join(" ".join(filter(None, (s.job, s.arm, s.layout))) for s in sides)
