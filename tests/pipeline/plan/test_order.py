"""The order of arms is counterbalanced."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from pipeline.plan.build import counterbalanced, williams


@pytest.mark.parametrize("arms", range(1, 9))
def test_williams_is_balanced_for_position_and_for_what_comes_before(arms: int) -> None:
    rows = williams(arms)
    assert len(rows) == (arms if arms % 2 == 0 else 2 * arms)
    for row in rows:
        assert sorted(row) == list(range(arms))
    for position in range(arms):
        counts = Counter(row[position] for row in rows)
        assert set(counts.values()) == {len(rows) // arms}
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert len(follows) == arms * (arms - 1)
    assert len(set(follows.values())) <= 1


def test_two_arms_alternate() -> None:
    assert [counterbalanced(2, block, seed=0) for block in range(3)] == [[0, 1], [1, 0], [0, 1]]
    assert counterbalanced(2, 0, seed=1) == [1, 0]
