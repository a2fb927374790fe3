from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.stats.nights import night_difference, night_spread


def test_spread_of_two_nights_is_their_difference_over_the_root_of_two() -> None:
    spread = night_spread([[1.0, 1.2]], 0.0)
    assert spread is not None
    assert spread.sd == pytest.approx(0.2 / np.sqrt(2))
    assert spread.df == pytest.approx(1.0)
    assert spread.nights == 2


def test_a_steady_drift_does_not_widen_the_spread() -> None:
    drift = list(0.002 * np.arange(20.0))
    spread = night_spread([drift], 0.0)
    assert spread is not None
    assert spread.sd == pytest.approx(0.002 / np.sqrt(2))
    assert np.std(drift, ddof=1) > 0.011  # about the mean it would be eight times that


def test_no_difference_is_taken_across_a_deliberate_change() -> None:
    one, two = [1.0, 1.01, 1.0], [1.5, 1.51, 1.5]
    split, joined = night_spread([one, two], 0.0), night_spread([[*one, *two]], 0.0)
    assert split is not None
    assert joined is not None
    assert split.sd == pytest.approx(0.01 / np.sqrt(2))
    assert joined.sd > 0.1


def test_nights_that_follow_no_other_say_nothing() -> None:
    assert night_spread([], 0.0) is None
    assert night_spread([[1.0], [2.0]], 0.0) is None


def test_equal_nights_prove_nothing_exactly() -> None:
    spread = night_spread([[1.0] * 10], 0.001)
    assert spread is not None
    assert spread.sd == 0.001


def test_degrees_of_freedom_are_those_of_the_estimator() -> None:
    """2 sigma^4 / Var(s^2), by simulation."""
    rng = np.random.default_rng(7)
    d = np.diff(rng.normal(size=(200_000, 20)), axis=1)
    squares = (d**2).mean(axis=1) / 2
    spread = night_spread([[0.0, 1.0] * 10], 0.0)
    assert spread is not None
    assert spread.df == pytest.approx(2 / squares.var(), rel=0.02)


def test_a_further_night_by_hand() -> None:
    spread = night_spread([[0.0, 0.1, 0.0, 0.1]], 0.0)
    assert spread is not None
    seen = night_difference(0.5, [0.0, 0.1, 0.0, 0.1], spread, 0.05)
    error = spread.sd * np.sqrt(1.25)
    assert seen.difference == pytest.approx(0.45)
    assert seen.p_higher == pytest.approx(stats.t.sf(0.45 / error, spread.df))
    assert seen.p_lower == pytest.approx(stats.t.cdf(0.45 / error, spread.df))
    assert seen.interval is not None
    half = stats.t.ppf(0.95, spread.df) * error
    assert seen.interval == pytest.approx((0.45 - half, 0.45 + half))


def test_false_alarms_keep_to_their_rate() -> None:
    """A t of a further night with these degrees of freedom; without any margin."""
    rng = np.random.default_rng(11)
    alarms = 0
    for nights in rng.normal(0, 0.005, size=(4000, 21)):
        spread = night_spread([list(nights[:20])], 0.0)
        seen = night_difference(nights[20], list(nights[:20]), spread, 0.05)
        assert seen.p_higher is not None
        alarms += seen.p_higher < 0.02
    assert alarms / 4000 < 0.027


def test_without_a_spread_there_is_an_estimate_and_no_proof() -> None:
    seen = night_difference(0.5, [0.1], None, 0.05)
    assert seen.difference == pytest.approx(0.4)
    assert seen.interval is None
    assert seen.p_higher is None
    with pytest.raises(ValueError, match="at least one night"):
        night_difference(0.5, [], None, 0.05)
