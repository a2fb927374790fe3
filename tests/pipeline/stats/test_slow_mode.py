"""Launches apart from all others: a mode of one arm, not noise, and not one that both arms have."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from pipeline.stats.slow_mode import launches_to_meet, slow_launches, unseen_mode

ALLOWED = log(1.03)
FLAT = [0.001, -0.002, 0.0, 0.002, -0.001, 0.0]


def blocks(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.parametrize(("reference", "arm", "slow"), [
    (FLAT, [0.0, 0.001, 0.05, -0.001, 0.0, 0.0], [2]),
    (FLAT, [0.08, 0.001, 0.05, -0.001, 0.0, 0.0], [0, 2]),
    (FLAT, [0.0, 0.001, 0.02, -0.001, 0.0, 0.0], []),  # inside the margin
    (FLAT, [0.0, 0.001, -0.05, -0.001, 0.0, 0.0], []),  # better than the others
    (FLAT, [0.05, 0.051, 0.049, 0.05, 0.05, 0.052], []),  # all of it: a plain loss
    ([0.0, 0.0, 0.05, 0.0, 0.0, 0.0], [0.0, 0.001, 0.05, -0.001, 0.0, 0.0], []),  # both have it
    ([0.0, 0.0, 0.0, 0.0, 0.051, 0.0], [0.0, 0.05, 0.0, -0.001, 0.0, 0.0], []),  # at another time
    # A faster arm whose slow launch is still no slower than the reference.
    (FLAT, [-0.1, -0.101, 0.0, -0.1, -0.099, -0.1], []),
    ([-0.03, 0.03, -0.02, 0.02], [-0.03, 0.065, 0.02, -0.02], []),  # apart, but so do all scatter
    ([0.0], [0.0], []),
    ([0.0], [0.0, 0.05], [1]),
])  # fmt: skip
def test_what_lies_apart(reference: list[float], arm: list[float], slow: list[int]) -> None:
    assert slow_launches(blocks(reference), blocks(arm), ALLOWED) == slow


@pytest.mark.parametrize(("launches", "spread"), [(3, 0.01), (5, 0.014), (8, 0.014), (15, 0.034)])
def test_launches_that_only_scatter_are_no_mode(launches: int, spread: float) -> None:
    drawn = np.random.default_rng(11).normal(0, spread, (400, 2, launches))
    seen = [bool(slow_launches(blocks(list(r)), blocks(list(a)), ALLOWED)) for r, a in drawn]
    assert np.mean(seen) <= 0.01


def test_what_a_number_of_launches_does_not_meet() -> None:
    assert unseen_mode(1 / 3, 3) == pytest.approx(8 / 27)
    assert unseen_mode(0.1, 3) == pytest.approx(0.729)
    assert [launches_to_meet(share, 0.05) for share in (1 / 3, 0.1)] == [8, 29]
