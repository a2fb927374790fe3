"""Nights: spread, correlation, forecast and pin, held against formulas and simulated nights."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import t as student

from benchmarks.night_rules import servegate, simulated, tensorrt_llm
from pipeline.stats.nights import (
    CORRELATIONS,
    NightSpread,
    forecast,
    night_bounds,
    night_difference,
    night_spread,
    pin_outlook,
    typical,
)

_Array = npt.NDArray[np.float64]


def numbers(count: int) -> npt.NDArray[np.int64]:
    return np.arange(count)


def without_correlation(sd: float, df: float) -> NightSpread:
    weights = np.where(CORRELATIONS == 0, 1.0, 0.0)
    one = np.ones(len(CORRELATIONS))
    return NightSpread(
        weights=weights, variances=one * sd**2, df=one * df, nights=np.array(20, dtype=np.int64)
    )


def test_without_correlation_it_is_students_t_for_a_further_night() -> None:
    values = np.array([10.0, 10.2, 9.9, 10.1])
    outlook = forecast(values, numbers(4), 4)
    spread = without_correlation(0.1, 7)
    seen = night_difference(np.array(10.45), outlook, spread)
    error = 0.1 * sqrt(1 + 1 / 4)
    assert seen.difference == pytest.approx(0.4)
    assert seen.p_higher == pytest.approx(student.sf(0.4 / error, 7))
    lower, upper = night_bounds(np.array(10.45), outlook, spread, 0.05)
    half = student.ppf(0.95, 7) * error
    assert (float(lower), float(upper)) == pytest.approx((0.4 - half, 0.4 + half), abs=1e-6)


def test_alike_nights_draw_the_forecast_to_the_latest() -> None:
    values = np.array([0.0, 0.0, 0.0, 1.0])
    outlook = forecast(values, numbers(4), 4)
    half = int(np.argmin(np.abs(CORRELATIONS - 0.5)))
    # by hand, correlation 1/2: weights of the mean are 1, 1/2, 1/2, 1 over 3; then half way to 1
    assert outlook.level[half] == pytest.approx(1 / 3 + (1 - 1 / 3) / 2)
    assert outlook.ratio[half] == pytest.approx(1 - 0.25 + 0.25 / (1 + 3 / 3))
    later = forecast(values, numbers(4), 9)
    assert later.level[half] == pytest.approx(1 / 3 + (1 - 1 / 3) / 2**6)


def test_a_pin_that_may_have_been_chosen_counts_one_night_more() -> None:
    pin = np.array([1.0, 2.0, 3.0])
    plain, chosen = (pin_outlook(pin, numbers(3), 50, chosen=own) for own in (False, True))
    assert plain.level[0] == chosen.level[0] == pytest.approx(2.0)
    assert plain.ratio[0] == pytest.approx(1 + 1 / 3)
    assert chosen.ratio[0] == pytest.approx(2 + 1 / 3)
    assert plain.ratio[8] == pytest.approx(1 + (3 + 4 * 0.8 + 2 * 0.64) / 9, abs=1e-3)


def test_one_bogus_night_is_no_sample_of_how_nights_differ() -> None:
    rng = np.random.default_rng(4)
    nights = rng.normal(0, 0.004, 12)
    clean = night_spread([(nights, numbers(12))], 0.0, 0.02)
    for factor in (1.3, 30.0):
        spoilt = nights.copy()
        spoilt[6] -= np.log(factor)
        kept = typical(spoilt, 0.02)
        assert kept.tolist() == [number != 6 for number in range(12)]
        spread = night_spread([(np.where(kept, spoilt, np.nan), numbers(12))], 0.0, 0.02)
        assert float(spread.sd) == pytest.approx(float(clean.sd), rel=0.35)
    assert typical(nights, 0.02).all()


def test_a_drift_is_no_spread_and_two_levels_need_two_parts() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1.0, 30)
    flat = night_spread([(noise, numbers(30))], 0.0, 1.0)
    slope = night_spread([(noise + 0.4 * np.arange(30), numbers(30))], 0.0, 1.0)
    assert float(slope.sd) == pytest.approx(float(flat.sd), rel=1e-6)
    stepped = noise + np.where(np.arange(30) < 15, 0.0, 20.0)
    halves = [(stepped[:15], numbers(15)), (stepped[15:], numbers(15))]
    assert float(night_spread(halves, 0.0, 1.0).sd) < 1.6
    assert float(night_spread([(stepped, numbers(30))], 0.0, 1.0).sd) > 3


@pytest.mark.parametrize(("correlation", "low", "high"), [(0.0, 0.0, 0.25), (0.8, 0.55, 0.8)])
def test_the_correlation_is_learned_from_the_nights(
    correlation: float, low: float, high: float
) -> None:
    values = simulated(6, 40, 77, 0.01, correlation=correlation).values
    spread = night_spread([(values, numbers(values.shape[1]))], 0.0, 0.02)
    assert low <= float(spread.correlation.mean()) <= high
    assert float(spread.sd.mean()) == pytest.approx(0.0105, rel=0.15)


def test_nothing_and_one_night_show_no_spread() -> None:
    assert int(night_spread([], 0.001, 0.02).nights) == 0
    assert int(night_spread([(np.array([1.0]), numbers(1))], 0.001, 0.02).nights) == 1
    # launches put a floor under what agrees by chance
    alike = night_spread([(np.ones(10), numbers(10))], 0.003, 0.02)
    assert float(alike.sd) == pytest.approx(0.003)


def test_healthy_nights_are_seldom_red_and_a_step_is_found() -> None:
    """Small samples of benchmarks.nightly_calibration; another rule shows that it can fail."""
    healthy = simulated(7, 60, 40, 0.01, correlation=0.8)
    assert servegate(healthy, 0.02).mean() < 0.02
    assert tensorrt_llm(healthy, 0.02).mean() > 0.1
    stepped = simulated(8, 60, 23, 0.004, step_at=20, step=0.03)
    assert servegate(stepped, 0.02)[:, 20:].any(axis=1).mean() > 0.95


def test_a_bogus_accepted_night_leaves_the_gate_armed() -> None:
    slow = simulated(9, 40, 23, 0.004, step_at=20, step=0.2, bogus=30.0)
    red = servegate(slow, 0.02)
    assert red[:, 20].all()
    assert red[:, :20].mean() < 0.01
