"""Checks of one night against baseline nights: estimate first, verdict after Holm; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from evals.metrics import METRICS
from pipeline.gate.evidence import is_fraction
from pipeline.gate.model import Bounds, Verdict
from pipeline.gate.text import as_change, as_p
from pipeline.history.model import CellValue, Night, NightCheck
from pipeline.stats import Interval, paired_difference
from pipeline.stats.launches import LEAST_SPREAD
from pipeline.stats.nights import NightSpread, night_difference, night_spread

__all__ = ["by_nights", "by_questions", "by_scores", "decided"]

# Below this share of its margin nobody asks how far nights lie apart.
_LEAST_SHIFT = 0.02


def by_nights(
    check: NightCheck,
    cell: CellValue,
    nights: Sequence[Night],
    stretches: Sequence[Sequence[Night]],
    alpha: float,
) -> NightCheck:
    """Speeds by the logarithm of each night's geometric mean over launches; shifts as they are.

    Args:
        check: The check so far.
        cell: Tonight's value; it has one.
        nights: The baseline, each with a value.
        stretches: Comparable accepted nights, for how far nights lie apart.
        alpha: Error rate of each side of the interval.
    """
    logs = METRICS[cell.metric].unit != "nats"
    key = cell.key

    def value(night: Night) -> float | None:
        seen = night.cell(key)
        if seen is None or seen.value is None or (logs and seen.value <= 0):
            return None
        return _scaled(seen.value, logs=logs)

    assert cell.value is not None
    base = [one for night in nights if (one := value(night)) is not None]
    parts = [
        [one for night in stretch if (one := value(night)) is not None] for stretch in stretches
    ]
    least = _least(cell, stretches, key, check.margin or 0.0, logs=logs)
    spread = night_spread(parts, least)
    seen = night_difference(_scaled(cell.value, logs=logs), base, spread, alpha)
    lower_is_better = METRICS[cell.metric].better == "lower"
    level = float(np.mean(base))
    return check.model_copy(
        update={
            "value": cell.value,
            "baseline_value": exp(level) if logs else level,
            "estimate": exp(seen.difference) if logs else seen.difference,
            "interval": _bounds(seen.interval, logs=logs),
            "p_worse": seen.p_higher if lower_is_better else seen.p_lower,
            "n": len(base),
            "method": _method(spread, logs=logs),
        }
    )


def _scaled(value: float, *, logs: bool) -> float:
    return log(value) if logs else value


def _bounds(interval: Interval | None, *, logs: bool) -> Bounds | None:
    if interval is None:
        return None
    return (exp(interval[0]), exp(interval[1])) if logs else (interval[0], interval[1])


def _least(
    cell: CellValue,
    stretches: Sequence[Sequence[Night]],
    key: tuple[object, ...],
    margin: float,
    *,
    logs: bool,
) -> float:
    """Nights cannot lie closer together than the launches of one night make them."""
    if not logs:
        return max(_LEAST_SHIFT * margin, 1e-9)
    squares, free = 0.0, 0
    cells = [c for s in stretches for night in s for c in night.cells if c.key == key]
    for launches in (one.launches for one in [*cells, cell]):
        if len(launches) > 1 and min(launches) > 0:
            squares += float(np.var(np.log(launches), ddof=1)) * (len(launches) - 1)
            free += len(launches) - 1
    own = sqrt(squares / free / max(1, len(cell.launches))) if free else 0.0
    return max(own, LEAST_SPREAD)


def _method(spread: NightSpread | None, *, logs: bool) -> str:
    kind = "t on log night means" if logs else "t on nights"
    if spread is None:
        return kind
    return f"{kind}, spread {spread.sd:.3g} from {spread.nights} nights ({spread.df:.1f} df)"


def by_questions(
    check: NightCheck,
    tonight: Mapping[str, float],
    baseline: Sequence[Mapping[str, float]],
    alpha: float,
) -> NightCheck:
    """A fraction, question by question, against the mean of the baseline's nights.

    Args:
        check: The check so far.
        tonight: Question means.
        baseline: Question means of each baseline night whose answers are kept, at least one.
        alpha: Error rate of each side of the interval.

    Returns:
        The check; missing where the two did not ask the same questions (a job in stages may have
        been stopped earlier on one side: then the fewer must all be among the more).
    """
    common = set(tonight).intersection(*baseline)
    if not common or len(common) != min(len(tonight), *map(len, baseline)):
        return check.model_copy(
            update={
                "verdict": Verdict.MISSING,
                "reason": "not comparable: questions were asked on one side only",
            }
        )
    means = {key: sum(night[key] for night in baseline) / len(baseline) for key in common}
    seen = paired_difference(means, {key: tonight[key] for key in common}, alpha)
    lower_is_better = METRICS[check.metric].better == "lower"
    value = sum(tonight[key] for key in common) / len(common)
    return check.model_copy(
        update={
            "value": value,
            "baseline_value": value - seen.difference,
            "estimate": seen.difference,
            "interval": (seen.interval[0], seen.interval[1]),
            "p_worse": seen.p_higher if lower_is_better else seen.p_lower,
            "n": seen.n,
            "method": f"paired by question with {len(baseline)} night(s): {seen.method}",
        }
    )


def by_scores(
    check: NightCheck, cell: CellValue, baseline: Sequence[CellValue], alpha: float
) -> NightCheck:
    """A fraction, interval against interval, where no night's answers are kept.

    R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17 (1998) 873-890, method 10 (square and add). Wider than a paired
    interval; nights that asked the same questions count as one, since they share them.
    """
    kept = [(c.value, c.interval) for c in baseline if c.value is not None and c.interval]
    if cell.value is None or cell.interval is None or not kept:
        return check.model_copy(
            update={"verdict": Verdict.MISSING, "reason": "neither answers nor an interval is kept"}
        )
    level = sum(value for value, _ in kept) / len(kept)
    below = max(value - interval[0] for value, interval in kept)
    above = max(interval[1] - value for value, interval in kept)
    difference = cell.value - level
    lower = difference - sqrt((cell.value - cell.interval[0]) ** 2 + above**2)
    upper = difference + sqrt((cell.interval[1] - cell.value) ** 2 + below**2)
    z = float(ndtri(1 - alpha))
    lower_is_better = METRICS[check.metric].better == "lower"
    harm = difference if lower_is_better else -difference
    width = (difference - lower) if lower_is_better else (upper - difference)
    return check.model_copy(
        update={
            "value": cell.value,
            "baseline_value": level,
            "estimate": difference,
            "interval": (max(lower, -1.0), min(upper, 1.0)),
            "p_worse": float(ndtr(-harm / (width / z))) if width > 0 else 1.0,
            "n": cell.n,
            "method": "score against score, unpaired: the baseline's answers are not kept "
            "(Newcombe's square and add)",
        }
    )


def decided(check: NightCheck, p_worse: float, alpha: float) -> NightCheck:
    """Regressed: beyond the margin and established. Pass: a loss of the margin is excluded.

    Args:
        check: A check with estimate and margin.
        p_worse: Holm-adjusted p-value for "worse".
        alpha: Error rate of an alarm, a night and baseline.
    """
    assert check.estimate is not None
    assert check.margin is not None
    ratio = check.measure == "ratio"
    sign = 1 if METRICS[check.metric].better == "lower" else -1
    allowed = _allowed(check.margin, ratio=ratio, lower_is_better=sign == 1)
    effect = sign * _scaled(check.estimate, logs=ratio)
    if check.interval is None:
        return check.model_copy(
            update={
                "beyond": effect > allowed,
                "verdict": Verdict.INCONCLUSIVE,
                "reason": "how far nights lie apart is not known: it takes two accepted nights "
                "that follow one another, and about six to decide",
            }
        )
    bound = max(sign * _scaled(side, logs=ratio) for side in check.interval)
    seen, margin = _seen(check), _margin(check)
    if effect > allowed and p_worse < alpha:
        verdict = Verdict.REGRESSED
        reason = f"worse by more than {margin}: {seen}, p {as_p(p_worse)} after Holm"
    elif bound < allowed:
        verdict, reason = Verdict.PASS, f"a change of {margin} to the worse is excluded: {seen}"
    else:
        verdict = Verdict.INCONCLUSIVE
        what = "beyond" if effect > allowed else "within"
        reason = (
            f"{seen} is {what} the margin of {margin}, p {as_p(p_worse)} after Holm: neither "
            f"established nor excluded; more launches a night, or another night, would decide"
        )
    return check.model_copy(
        update={
            "beyond": effect > allowed,
            "verdict": verdict,
            "reason": reason,
            "p_worse_adjusted": p_worse,
        }
    )


def _allowed(margin: float, *, ratio: bool, lower_is_better: bool) -> float:
    if not ratio:
        return margin
    return log(1 + margin) if lower_is_better else -log(1 - margin)


def _seen(check: NightCheck) -> str:
    assert check.estimate is not None
    if check.measure == "ratio":
        return as_change(check.estimate)
    if is_fraction(check.metric):
        return f"{100 * check.estimate:+.2f} points"
    return f"{check.estimate:+.4f} {METRICS[check.metric].unit}"


def _margin(check: NightCheck) -> str:
    assert check.margin is not None
    if check.measure == "ratio":
        return f"{100 * check.margin:.3g} %"
    if is_fraction(check.metric):
        return f"{100 * check.margin:.3g} points"
    return f"{check.margin:.3g} {METRICS[check.metric].unit}"
