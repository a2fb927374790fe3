"""The decision: what an estimate, its interval and a margin allow to say. Nothing else decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log, log1p
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.stats.paired import PairedDifference

State = Literal["pass", "improved", "regressed", "undecided"]

# One experiment, or many at once: error rates are simulated with arrays through the same rule.
_Floats = float | npt.NDArray[np.float64]
_Bools = bool | npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Change:
    """An estimated change turned so that positive is better, on the scale where margins add.

    Attributes:
        gain: The estimate: a difference, or the logarithm of a ratio.
        lower: Bound on the harmful side, at the error rate of a pass.
        upper: The other bound.
        p_worse: p-value for "worse", adjusted or to be held against a level of its own.
        p_better: The same for "better".
    """

    gain: _Floats
    lower: _Floats
    upper: _Floats
    p_worse: _Floats
    p_better: _Floats = 1.0

    @classmethod
    def of(
        cls,
        estimate: float,
        interval: Sequence[float],
        *,
        p_worse: float,
        p_better: float = 1.0,
        higher_is_better: bool,
        ratio: bool = False,
    ) -> Change:
        """From an estimate as it is reported; ``ratio``: a ratio, whose logarithm is taken."""
        gain, lower, upper = (log(x) if ratio else x for x in (estimate, *interval))
        if not higher_is_better:
            gain, lower, upper = -gain, -upper, -lower
        return cls(gain=gain, lower=lower, upper=upper, p_worse=p_worse, p_better=p_better)


class Margins(NamedTuple):
    """A gate's margin on the scale of a change; both are positive.

    Attributes:
        loss: The largest loss that is acceptable.
        gain: What a ratio must gain to be called better.
    """

    loss: float
    gain: float


def margins_of(margin: float, *, higher_is_better: bool, ratio: bool = False) -> Margins:
    """A margin of 3 % of a ratio is log 1.03 upwards and -log 0.97 downwards."""
    if not ratio:
        return Margins(margin, margin)
    more, less = log1p(margin), -log1p(-margin)
    return Margins(less, more) if higher_is_better else Margins(more, less)


def is_beyond(change: Change, loss: float) -> _Bools:
    """Whether the estimate itself is a loss of more than the margin."""
    return change.gain < -loss


def is_worse(change: Change, level: float) -> _Bools:
    """Whether it is established that the arm is worse at all."""
    return (change.p_worse < level) & (change.upper < 0)


def is_better(change: Change, level: float) -> _Bools:
    """Whether it is established that the arm is better at all."""
    return (change.p_better < level) & (change.lower > 0)


def is_regressed(change: Change, loss: float, level: float) -> _Bools:
    """The estimate is beyond the margin, and worse at all is established.

    So an arm that is worse by less than the margin may be regressed
    (:func:`pipeline.stats.power.operating_curve` says how often); a rule that asked for a loss
    beyond the margin to be established would find hardly any.
    """
    return is_beyond(change, loss) & is_worse(change, level)


def excludes(change: Change, loss: float) -> _Bools:
    """The bound on the harmful side excludes a loss of the margin (non-inferiority)."""
    return change.lower > -loss


def unseen_collapse(questions: int, margin: float) -> float:
    """Chance that a loss of the margin, whole on a few questions, meets none of those asked.

    No interval can warn of what is not in the sample: with 100 questions a collapse of 2 % of all
    that could be asked goes unseen with 13 %, however often each is asked. It takes 149 for 5 %.
    """
    return float((1 - margin) ** questions)


def questions_to_pass(margin: float, alpha: float) -> int:
    """Least questions of which such a collapse is missed with a chance of at most alpha."""
    return ceil(log(alpha) / log1p(-margin))


def asks_enough(questions: int, margin: float, alpha: float) -> bool:
    """Whether a loss of the margin on a few questions would have met one with 1 - alpha."""
    return unseen_collapse(questions, margin) <= alpha


def decide(
    change: Change, *, loss: float, better_by: float, level: float, enough: bool = True
) -> State:
    """Judge one comparison.

    Regressed: beyond the margin, and worse at all is established. Pass: a loss of the margin is
    excluded (the absence of significance is never a pass). Improved: a pass of which better at all
    is established, with an estimate above ``better_by``.

    Args:
        change: With its interval at the error rate of a pass.
        loss: Largest acceptable loss, on the scale of the change.
        better_by: 0 for scores, the margin for ratios, infinity where nobody asks.
        level: What a p-value must be below: alpha for adjusted ones, else alpha over the number of
            comparisons (Bonferroni).
        enough: For scores, :func:`asks_enough`; nothing passes without.
    """
    if is_regressed(change, loss, level):
        return "regressed"
    if not (enough and excludes(change, loss)):
        return "undecided"
    better = change.gain > better_by and is_better(change, level)
    return "improved" if better else "pass"


def state_of(
    seen: PairedDifference,
    margin: float,
    alarm_level: float,
    *,
    alpha: float,
    higher_is_better: bool = True,
) -> Literal["pass", "regressed", "undecided"]:
    """Judge a paired difference of scores; never improved.

    Args:
        seen: Its interval at the error rate of a pass.
        margin: Largest acceptable loss, a fraction.
        alarm_level: What the p-value must be below: alpha over the number of comparisons at worst
            (Bonferroni, and so Holm with one arm that is worse).
        alpha: One-sided error rate of a false pass; over all stages, where there are some.
        higher_is_better: False for a rate of something bad.
    """
    change = Change.of(
        seen.difference,
        seen.interval,
        p_worse=seen.p_lower if higher_is_better else seen.p_higher,
        higher_is_better=higher_is_better,
    )
    enough = asks_enough(seen.n, margin, alpha)
    state = decide(change, loss=margin, better_by=inf, level=alarm_level, enough=enough)
    return "pass" if state == "improved" else state


def level_state(
    interval: Sequence[float], strict: Sequence[float], limit: float, *, higher_is_better: bool
) -> State:
    """Judge a level against a floor, or a ceiling where lower is better.

    Args:
        interval: At the error rate of a pass.
        strict: At the error rate of an alarm.
        limit: The floor or ceiling.
        higher_is_better: Whether the limit is a floor.
    """
    if higher_is_better:
        beyond, kept = strict[1] < limit, interval[0] >= limit
    else:
        beyond, kept = strict[0] > limit, interval[1] <= limit
    return "regressed" if beyond else "pass" if kept else "undecided"


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
