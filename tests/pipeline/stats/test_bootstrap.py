"""The hierarchical bootstrap, held against Student's t and scipy's."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from scipy import stats

from pipeline.stats import hierarchical_ratio, launch_ratio

ALPHA = 0.05


def _launches(
    rng: np.random.Generator, n: int, spread: float, run_spread: float
) -> dict[int, list[float]]:
    return {
        block: [10 * exp(at + rng.normal(0, run_spread)) for _ in range(3)]
        for block, at in enumerate(rng.normal(0, spread, n))
    }


def _medians(side: dict[int, list[float]]) -> dict[int, float]:
    return {block: float(np.median(runs)) for block, runs in side.items()}


def test_with_many_launches_it_agrees_with_t() -> None:
    rng = np.random.default_rng(5)
    reference, arm = (_launches(rng, 60, 0.02, 0.0) for _ in range(2))
    found = hierarchical_ratio(reference, arm, ALPHA)
    by_t = launch_ratio(_medians(reference), _medians(arm), ALPHA).interval
    assert found is not None
    assert by_t is not None
    assert log(found.lower) == pytest.approx(log(by_t.lower), abs=0.0008)
    assert log(found.upper) == pytest.approx(log(by_t.upper), abs=0.0008)


def test_with_few_launches_it_is_narrower_than_t_so_it_decides_nothing() -> None:
    """Four blocks: of the normal's quantile and of 3/4 of the variance, not of Student's."""
    rng = np.random.default_rng(6)
    shares = []
    for _ in range(50):
        reference, arm = (_launches(rng, 4, 0.02, 0.0) for _ in range(2))
        found = hierarchical_ratio(reference, arm, ALPHA)
        by_t = launch_ratio(_medians(reference), _medians(arm), ALPHA).interval
        assert found is not None
        assert by_t is not None
        shares.append((log(found.upper) - log(found.lower)) / (log(by_t.upper) - log(by_t.lower)))
    expected = (3 / 4) ** 0.5 * stats.norm.ppf(0.95) / stats.t.ppf(0.95, 3)
    assert np.mean(shares) == pytest.approx(expected, abs=0.06)


def test_with_one_run_a_launch_it_is_scipys_bootstrap_of_block_differences() -> None:
    rng = np.random.default_rng(7)
    reference = {block: [float(value)] for block, value in enumerate(rng.lognormal(0, 0.02, 8))}
    arm = {block: [float(value)] for block, value in enumerate(rng.lognormal(0.05, 0.02, 8))}
    found = hierarchical_ratio(reference, arm, ALPHA)
    differences = np.array([log(arm[b][0]) - log(reference[b][0]) for b in range(8)])
    theirs = stats.bootstrap(
        (differences,), np.mean, confidence_level=0.9, method="percentile", n_resamples=4000,
        random_state=1,
    ).confidence_interval  # fmt: skip
    assert found is not None
    assert log(found.lower) == pytest.approx(theirs.low, abs=0.001)
    assert log(found.upper) == pytest.approx(theirs.high, abs=0.001)


def test_runs_that_differ_widen_it() -> None:
    rng = np.random.default_rng(8)
    calm = [_launches(rng, 6, 0.001, 0.0) for _ in range(2)]
    shaky = [{b: [runs[0] * f for f in (0.9, 1.0, 1.1)] for b, runs in s.items()} for s in calm]
    found = [hierarchical_ratio(one, other, ALPHA) for one, other in (calm, shaky)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].upper - found[1].lower > 5 * (found[0].upper - found[0].lower)


def test_it_is_the_same_each_time_and_nothing_for_one_launch() -> None:
    rng = np.random.default_rng(9)
    reference = _launches(rng, 4, 0.02, 0.01)
    arm = {block + 1: runs for block, runs in _launches(rng, 4, 0.02, 0.01).items()}
    assert hierarchical_ratio(reference, arm, ALPHA) == hierarchical_ratio(reference, arm, ALPHA)
    assert hierarchical_ratio({0: [1.0]}, arm, ALPHA) is None


@pytest.mark.parametrize("bad", [{0: [1.0], 1: []}, {0: [1.0], 1: [0.0]}])
def test_launches_without_a_positive_value_are_refused(bad: dict[int, list[float]]) -> None:
    with pytest.raises(ValueError, match="positive"):
        hierarchical_ratio(bad, {0: [1.0], 1: [1.0]}, ALPHA)
