"""The three states of a comparison: a loss of the margin is excluded, established, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pipeline.stats.paired import PairedDifference


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order.

    Comparing each with alpha keeps the chance of one or more false alarms at alpha, whatever the
    dependence between the comparisons. Source: S. Holm, A simple sequentially rejective multiple
    test procedure, Scand. J. Statist. 6 (1979) 65-70. Not statsmodels' ``multipletests``, which
    gives the same (a test compares) but collects garbage at each call, 80 ms of a judgement.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - done) * p_values[index]))
        adjusted[index] = highest
    return adjusted


State = Literal["pass", "regressed", "undecided"]


def state_of(
    seen: PairedDifference, margin: float, alarm_level: float, *, higher_is_better: bool = True
) -> State:
    """Judge one comparison.

    Pass: the bound on the harmful side excludes a loss of the margin (non-inferiority; the absence
    of significance is never a pass). Regressed: the effect is beyond the margin, and that it is
    worse at all is established, too: the other bound excludes equality, and the p-value of "worse"
    is below the level of the alarm.

    Args:
        seen: Its interval at the error rate of a pass.
        margin: Largest acceptable loss, a fraction.
        alarm_level: What the p-value must be below: alpha over the number of comparisons at worst
            (Bonferroni, and so Holm with one arm that is worse).
        higher_is_better: False for a rate of something bad.
    """
    gain, lower, upper = seen.difference, seen.interval.lower, seen.interval.upper
    p_worse = seen.p_lower
    if not higher_is_better:
        gain, lower, upper = -seen.difference, -seen.interval.upper, -seen.interval.lower
        p_worse = seen.p_higher
    if lower > -margin:
        return "pass"
    beyond = gain < -margin
    return "regressed" if beyond and p_worse < alarm_level and upper < 0 else "undecided"
