"""Many lines of simulated nights at once, judged by servegate's functions and by rules of others.

The parts of `benchmarks.nightly_calibration` that need thousands of nights: one speed of one arm,
whose lines are the first axis of every array. Nights are a first-order autoregression, launches of
one night add white noise; all values are logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from pipeline.history.baselines import FIRM_PIN, ROLLING_NIGHTS
from pipeline.history.judge import ALARM, OF_PROVISIONAL
from pipeline.history.nightly import MAY_BE_A_STEP
from pipeline.history.series import shifts
from pipeline.stats.nights import (
    forecast,
    night_difference,
    night_spread,
    pin_outlook,
    typical,
)

__all__ = ["Nights", "Rule", "otava", "servegate", "simulated", "tensorrt_llm"]

_Array = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

_LAUNCH_SD, _LAUNCHES = 0.007, 5
_CHOSEN_AMONG = 9
_SMOOTHED = 3  # nights of TensorRT-LLM's rolling mean
_HISTORY = 90  # days of history that TensorRT-LLM asks its database for


@dataclass(frozen=True, kw_only=True)
class Nights:
    """Lines of nights.

    Attributes:
        values: Logarithms of a latency, shape (lines, nights).
        pinned: Which nights are the pin, same shape.
        first: The first night that is judged.
        accepted_anyway: A night that is a baseline whatever the rule says; -1: none.
    """

    values: _Array
    pinned: _Mask
    first: int
    accepted_anyway: int = -1


Rule = Callable[[Nights, float], _Mask]
"""Which of the nights from the first judged one on are red at a margin (a ratio minus 1)."""


def simulated(  # noqa: PLR0913 - a setting a parameter
    seed: int,
    lines: int,
    nights: int,
    sd: float,
    *,
    correlation: float = 0.0,
    pin: int = 3,
    chosen: bool = False,
    step_at: int | None = None,
    step: float = 0.0,
    drift: float = 0.0,
    bogus: float = 1.0,
) -> Nights:
    """Lines of nights with one fault, or none.

    Args:
        seed: Of the random numbers.
        lines: How many lines.
        nights: Judged nights of each.
        sd: Standard deviation of nights; launches add 0.7 % a launch.
        correlation: Of neighbouring nights.
        pin: Pinned nights.
        chosen: The pin is the fastest of nine nights, instead.
        step_at: The judged night from which on the step and the drift act.
        step: A ratio minus 1.
        drift: The same, a night.
        bogus: How many times as fast the eighth judged night is; it is accepted.
    """
    rng = np.random.default_rng(seed)
    first = _CHOSEN_AMONG if chosen else pin
    total = first + nights
    values = np.empty((lines, total))
    values[:, 0] = rng.normal(0, sd, lines)
    for night in range(1, total):
        new = rng.normal(0, sd * sqrt(1 - correlation**2), lines)
        values[:, night] = correlation * values[:, night - 1] + new
    values += rng.normal(0, _LAUNCH_SD / sqrt(_LAUNCHES), values.shape)
    if step_at is not None:
        later = np.arange(1, nights - step_at + 1)
        values[:, first + step_at :] += np.log1p(step) + later * np.log1p(drift)
    pinned = np.zeros(values.shape, dtype=np.bool_)
    if chosen:
        pinned[np.arange(lines), values[:, :first].argmin(1)] = True
    else:
        pinned[:, :first] = True
    if bogus == 1:
        return Nights(values=values, pinned=pinned, first=first)
    values[:, first + 7] -= np.log(bogus)
    return Nights(values=values, pinned=pinned, first=first, accepted_anyway=first + 7)


def servegate(lines: Nights, margin: float) -> _Mask:
    """Red against the pinned or the rolling baseline; every night that `accept` takes is taken."""
    allowed = float(np.log1p(margin))
    accepted = lines.pinned.copy()
    numbers = np.arange(lines.values.shape[1])
    begin = lines.pinned[:, : lines.first]
    of_pin = np.where(begin, lines.values[:, : lines.first], np.nan)
    provisional = int(begin[0].sum()) < FIRM_PIN
    alarm = ALARM * (OF_PROVISIONAL if provisional else 1)
    red = np.zeros((len(accepted), len(numbers) - lines.first), dtype=np.bool_)
    for night in range(lines.first, len(numbers)):
        tonight, before = lines.values[:, night], accepted[:, :night]
        rank = np.cumsum(before[:, ::-1], axis=1)[:, ::-1]
        known = np.where(before & (rank <= 2 * ROLLING_NIGHTS), lines.values[:, :night], np.nan)
        usable = np.where(typical(known, allowed), known, np.nan)
        spread = night_spread(
            [(usable, numbers[:night])],
            _LAUNCH_SD / sqrt(_LAUNCHES),
            allowed,
            provisional=provisional,
        )
        rolling = np.where(rank <= ROLLING_NIGHTS, usable, np.nan)
        refused = np.zeros(len(accepted), dtype=np.bool_)
        for outlook in (
            forecast(rolling, numbers[:night], night),
            pin_outlook(of_pin, numbers[: lines.first], night, chosen=True),
        ):
            seen = night_difference(tonight, outlook, spread)
            p_worse = np.where(spread.nights < 2, 1.0, seen.p_higher)
            worse = seen.difference > allowed
            red[:, night - lines.first] |= worse & (p_worse < alarm)
            step = (p_worse < MAY_BE_A_STEP) | (spread.nights < 2) if provisional else True
            refused |= (worse & step) | (seen.difference < -allowed)
        accepted[:, night] = ~refused | (night == lines.accepted_anyway)
    return red


def tensorrt_llm(lines: Nights, margin: float) -> _Mask:
    """TensorRT-LLM's: worse by the threshold than the best 5 % of a rolling mean of three days.

    tests/integration/defs/perf/perf_regression_utils.py of NVIDIA/TensorRT-LLM (commit 22a60534),
    calculate_baseline_metrics and prepare_regressive_test_cases: daily means, a trailing mean over
    three of them, its 5th percentile (of what is to be small) over all history and tonight; a
    regression where tonight is above it by more than the threshold, 5 % after a merge.
    """
    values = np.exp(lines.values)
    smooth = np.stack(
        [
            values[:, max(0, night - _SMOOTHED + 1) : night + 1].mean(axis=1)
            for night in range(values.shape[1])
        ],
        axis=1,
    )
    return np.stack(
        [
            values[:, night]
            > np.percentile(smooth[:, max(0, night + 1 - _HISTORY) : night + 1], 5, axis=1)
            * (1 + margin)
            for night in range(lines.first, values.shape[1])
        ],
        axis=1,
    )


def otava(lines: Nights, margin: float) -> _Mask:
    """Apache-otava's change points over all nights so far: a new one, and worse by the margin."""
    values = np.exp(lines.values)
    red = np.zeros((len(values), values.shape[1] - lines.first), dtype=np.bool_)
    for line, own in enumerate(values):
        known: set[int] = set()
        for night in range(lines.first, len(own)):
            worse = {
                shift.index
                for shift in shifts(own[: night + 1].tolist())
                if shift.after > shift.before * (1 + margin)
            }
            # A change point moves by some nights as more of them come.
            new = [at for at in worse if not any(abs(at - then) <= _SMOOTHED for then in known)]
            red[line, night - lines.first] = bool(new)
            known |= worse
    return red
