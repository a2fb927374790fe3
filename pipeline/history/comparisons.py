"""Checks of one night against baseline nights: estimate first, verdict after Holm; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from evals.metrics import METRICS, is_fraction
from pipeline.gate.model import Bounds, Verdict
from pipeline.gate.text import as_change, as_p
from pipeline.history.model import CellValue, Night, NightCheck
from pipeline.stats import decision, paired_difference
from pipeline.stats.launches import LEAST_SPREAD
from pipeline.stats.nights import (
    NightSpread,
    forecast,
    night_bounds,
    night_difference,
    night_spread,
    pin_outlook,
    typical,
)

__all__ = ["by_nights", "by_questions", "by_scores", "decided"]

Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""One value a night, NaN where it has none, and the nights' running numbers."""

# Below this share of its margin nobody asks how far nights lie apart.
_LEAST_SHIFT = 0.02
# How often a loss on a few questions may go unseen: the gate's own default error rate. A night's is
# smaller, so that alarms stay rare, and would ask for twice the questions.
_UNSEEN = 0.05


def by_nights(
    check: NightCheck,
    cell: CellValue,
    nights: Sequence[Night],
    stretches: Sequence[Sequence[Night]],
    alpha: float,
    numbers: Mapping[str, int] | None = None,
) -> NightCheck:
    """Speeds by the logarithm of each night's geometric mean over launches; shifts as they are.

    Args:
        check: The check so far.
        cell: Tonight's value; it has one.
        nights: The baseline, each with a value.
        stretches: Comparable accepted nights, for how far nights lie apart.
        alpha: Error rate of each side of the interval.
        numbers: Running numbers of the nights by the names of their runs, tonight's being their
            count; None: the nights follow one another.
    """
    logs = METRICS[cell.metric].compared_as != "shift"
    key = cell.key
    known = numbers or {
        night.run: number
        for number, night in enumerate(sorted(nights, key=lambda night: night.started_at))
    }

    def value(night: Night) -> float:
        seen = night.cell(key)
        if seen is None or seen.value is None or seen.quarantine or (logs and seen.value <= 0):
            return float("nan")
        return _scaled(seen.value, logs=logs)

    def series(part: Sequence[Night]) -> Series:
        return (
            np.array([value(night) for night in part], dtype=float),
            np.array([known.get(night.run, 0) for night in part], dtype=np.int64),
        )

    assert cell.value is not None
    # Whichever way is worse: how far nights may lie apart has no direction.
    margin = decision.margins_of(check.margin or 0.0, higher_is_better=False, ratio=logs).loss
    usable = _without_outlying([series(part) for part in stretches], margin)
    least = _least(cell, stretches, key, check.margin or 0.0, logs=logs)
    spread = night_spread(usable, least, margin, provisional=check.provisional)
    base, order = _without_outlying([series(nights)], margin)[0]
    tonight = np.array(_scaled(cell.value, logs=logs))
    pinned = check.baseline == "pinned"
    outlook = pin_outlook(base, order, len(known)) if pinned else forecast(base, order, len(known))
    seen = night_difference(tonight, outlook, spread)
    level = float(tonight - seen.difference)
    update: dict[str, object] = {
        "value": cell.value,
        "baseline_value": exp(level) if logs else level,
        "estimate": exp(seen.difference) if logs else float(seen.difference),
        "n": int(np.isfinite(base).sum()),
        "method": _method(spread, int(np.isnan(base).sum()), logs=logs),
    }
    if spread.nights >= 2:
        lower, upper = night_bounds(tonight, outlook, spread, alpha)
        careful = seen
        if pinned:
            chosen = pin_outlook(base, order, len(known), chosen=True)
            careful = night_difference(tonight, chosen, spread)
        worse, better = careful.p_higher, seen.p_lower
        if METRICS[cell.metric].better != "lower":
            worse, better = careful.p_lower, seen.p_higher
        update |= {
            "interval": _bounds((float(lower), float(upper)), logs=logs),
            "p_worse": float(worse),
            "p_better": float(better),
        }
    return check.model_copy(update=update)


def _without_outlying(parts: Sequence[Series], margin: float) -> list[Series]:
    """The same nights, with NaN for those that are no sample of their part."""
    return [
        (np.where(typical(values, margin), values, np.nan), numbers) for values, numbers in parts
    ]


def _scaled(value: float, *, logs: bool) -> float:
    return log(value) if logs else value


def _bounds(interval: Bounds, *, logs: bool) -> Bounds:
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


def _method(spread: NightSpread, left_out: int, *, logs: bool) -> str:
    kind = "t on log night means" if logs else "t on nights"
    without = f", {left_out} outlying left out of the baseline" if left_out else ""
    if spread.nights < 2:
        return f"{kind}{without}"
    return (
        f"{kind}, spread {float(spread.sd):.3g} and correlation {float(spread.correlation):.1f} "
        f"from {int(spread.nights)} nights{without}"
    )


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
            "p_better": seen.p_lower if lower_is_better else seen.p_higher,
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
    below_it, above_it = difference - lower, upper - difference
    width, other = (below_it, above_it) if lower_is_better else (above_it, below_it)
    return check.model_copy(
        update={
            "value": cell.value,
            "baseline_value": level,
            "estimate": difference,
            "interval": (max(lower, -1.0), min(upper, 1.0)),
            "p_worse": float(ndtr(-harm / (width / z))) if width > 0 else 1.0,
            "p_better": float(ndtr(harm / (other / z))) if other > 0 else 1.0,
            "n": cell.n,
            "unpaired": True,
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
    higher_is_better = METRICS[check.metric].better == "higher"
    margins = decision.margins_of(check.margin, higher_is_better=higher_is_better, ratio=ratio)
    change = decision.Change.of(
        check.estimate,
        check.interval or (check.estimate, check.estimate),
        p_worse=p_worse,
        p_better=1.0 if check.p_better is None else check.p_better,
        higher_is_better=higher_is_better,
        ratio=ratio,
    )
    beyond = bool(decision.is_beyond(change, margins.loss))
    sides = {"beyond": beyond, "ahead": bool(change.gain > margins.gain)}
    if check.interval is None:
        return check.model_copy(
            update={
                **sides,
                "verdict": Verdict.INCONCLUSIVE,
                "reason": "how far nights lie apart is not known: it takes two accepted nights "
                "since the pin, and about six to decide",
            }
        )
    enough = not is_fraction(check.metric) or decision.asks_enough(
        check.n or 0, check.margin, _UNSEEN
    )
    state = decision.decide(
        change, loss=margins.loss, better_by=margins.gain, level=alpha, enough=enough
    )
    seen, margin = _seen(check), _margin(check)
    if state == "regressed":
        verdict = Verdict.REGRESSED
        reason = f"worse by more than {margin}: {seen}, p {as_p(p_worse)} after Holm"
    elif state == "improved":
        verdict = Verdict.IMPROVED
        reason = f"better by more than {margin}: {seen}; only a new pin makes it a baseline"
    elif state == "pass":
        verdict, reason = Verdict.PASS, f"a change of {margin} to the worse is excluded: {seen}"
    elif not enough:
        verdict = Verdict.INCONCLUSIVE
        reason = (
            f"too few questions: {check.n} may miss a loss of {margin} that is confined to a few "
            f"of them; ask at least {decision.questions_to_pass(check.margin, _UNSEEN)}"
        )
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = (
            f"{seen} is {'beyond' if beyond else 'within'} the margin of {margin}, p "
            f"{as_p(p_worse)} after Holm: neither established nor excluded; more launches a "
            "night, or another night, would decide"
        )
    if check.provisional and verdict is not Verdict.PASS:
        reason += "; the pin is provisional: it has fewer than three nights"
    return check.model_copy(
        update={**sides, "verdict": verdict, "reason": reason, "p_worse_adjusted": p_worse}
    )


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
