"""Cases beside the matrix: what is lost, swapped, not comparable, noisy, or claimed too much."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.selftest.claims import claims
from pipeline.selftest.losses import losses
from pipeline.selftest.matrix import gated
from pipeline.selftest.model import Case
from pipeline.selftest.scene import Scene
from pipeline.selftest.statistics import statistics
from pipeline.selftest.stored import Place, Stored

__all__ = ["scenarios"]


def scenarios(base: Stored, place: Place) -> Iterator[Case]:
    """The cases that these records allow.

    Args:
        base: Levelled records.
        place: The row that faults are injected into.
    """
    scene = Scene(base=base, place=place, gates=gated(base.plan, place))
    yield from losses(scene)
    yield from statistics(scene)
    yield from claims(scene)
