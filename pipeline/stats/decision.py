"""The three states of a comparison: a loss of the margin is excluded, established, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log, log1p
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


def unseen_collapse(questions: int, margin: float) -> float:
    """Chance that a loss of the margin, whole on a few questions, meets none of those asked.

    No interval can warn of what is not in the sample: with 100 questions a collapse of 2 % of all
    that could be asked goes unseen with 13 %, however often each is asked. It takes 149 for 5 %.
    """
    return float((1 - margin) ** questions)


def questions_to_pass(margin: float, alpha: float) -> int:
    """Least questions of which such a collapse is missed with a chance of at most alpha."""
    return ceil(log(alpha) / log1p(-margin))


def state_of(
    seen: PairedDifference,
    margin: float,
    alarm_level: float,
    *,
    alpha: float,
    higher_is_better: bool = True,
) -> State:
    """Judge one comparison.

    Pass: the bound on the harmful side excludes a loss of the margin (non-inferiority; the absence
    of significance is never a pass), and so many questions were asked that such a loss, whole on a
    few of them, would have met one with a chance of 1 - alpha. Regressed: the estimate is beyond
    the margin, and that the arm is worse at all is established, too: the other bound excludes
    equality, and the p-value of "worse" is below the level of the alarm. So an arm that is worse by
    less than the margin may be regressed (:func:`pipeline.stats.power.operating_curve` says how
    often); a rule that asked for a loss beyond the margin to be established would find hardly any.

    Args:
        seen: Its interval at the error rate of a pass.
        margin: Largest acceptable loss, a fraction.
        alarm_level: What the p-value must be below: alpha over the number of comparisons at worst
            (Bonferroni, and so Holm with one arm that is worse).
        alpha: One-sided error rate of a false pass; over all stages, where there are some.
        higher_is_better: False for a rate of something bad.
    """
    gain, lower, upper = seen.difference, seen.interval.lower, seen.interval.upper
    p_worse = seen.p_lower
    if not higher_is_better:
        gain, lower, upper = -seen.difference, -seen.interval.upper, -seen.interval.lower
        p_worse = seen.p_higher
    if lower > -margin and unseen_collapse(seen.n, margin) <= alpha:
        return "pass"
    beyond = gain < -margin
    return "regressed" if beyond and p_worse < alarm_level and upper < 0 else "undecided"
