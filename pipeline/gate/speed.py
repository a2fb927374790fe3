"""Checks of latency and throughput, launch by launch, as a ratio to the reference."""

from __future__ import annotations

from math import exp, log

from evals.metrics import METRICS
from pipeline.experiment.gates import Gate
from pipeline.gate.evidence import Evidence, begin, missing
from pipeline.gate.model import Check, Verdict
from pipeline.gate.text import as_change, as_p
from pipeline.stats import (
    LaunchRatio,
    decision,
    hierarchical_ratio,
    launch_ratio,
    launches_needed,
)

__all__ = ["against_reference", "decide_ratio"]

_POWER = 0.8


def against_reference(
    job: str, metric: str, arm: Evidence, reference: Evidence, gate: Gate | None, alpha: float
) -> Check:
    """The ratio of launch medians; undecided, inconclusive for one launch, or missing."""
    check, gap = begin(job, metric, "ratio", arm, reference, gate)
    if gap:
        return missing(check, gap)
    seen = launch_ratio(reference.launch_values(metric), arm.launch_values(metric), alpha)
    made = _with(check, seen, arm, reference)
    if gate is None:
        return made
    second = hierarchical_ratio(reference.run_values(metric), arm.run_values(metric), alpha)
    return made.model_copy(update={"bootstrap": None if second is None else tuple(second)})


def _with(check: Check, seen: LaunchRatio, arm: Evidence, reference: Evidence) -> Check:
    lower_is_better = METRICS[check.metric].better == "lower"
    alone = seen.interval is None
    return check.model_copy(
        update={
            "value": _geometric_mean(arm, check.metric),
            "reference_value": _geometric_mean(reference, check.metric),
            "estimate": seen.ratio,
            "interval": None if seen.interval is None else tuple(seen.interval),
            "p_worse": seen.p_higher if lower_is_better else seen.p_lower,
            "p_better": seen.p_lower if lower_is_better else seen.p_higher,
            "n": seen.n_arm,
            "method": seen.method,
            "verdict": Verdict.INCONCLUSIVE if alone and check.gated else None,
            "reason": "one launch an arm does not show how launches differ by themselves; set "
            "launches to 3 or more"
            if alone
            else "",
        }
    )


def _geometric_mean(side: Evidence, metric: str) -> float:
    values = list(side.launch_values(metric).values())
    return exp(sum(map(log, values)) / len(values))


def decide_ratio(
    check: Check,
    p_worse: float,
    p_better: float,
    alpha: float,
    *,
    passing: float | None = None,
    established: str = "after Holm",
) -> Check:
    """Decide a ratio of launches, as :func:`pipeline.stats.decision.decide` does on its logarithm.

    Args:
        check: A check with estimate, interval and margin.
        p_worse: p-value for "worse", Holm-adjusted or to be held against a level of its own.
        p_better: The same for "better".
        alpha: One-sided error rate of what is established.
        passing: Error rate of the interval's bounds; None: alpha.
        established: What a reason says behind a p-value.
    """
    assert check.estimate is not None
    assert check.interval is not None
    assert check.margin is not None
    higher_is_better = METRICS[check.metric].better == "higher"
    change = decision.Change.of(
        check.estimate,
        check.interval,
        p_worse=p_worse,
        p_better=p_better,
        higher_is_better=higher_is_better,
        ratio=True,
    )
    margins = decision.margins_of(check.margin, higher_is_better=higher_is_better, ratio=True)
    state = decision.decide(change, loss=margins.loss, better_by=margins.gain, level=alpha)
    seen, margin = as_change(check.estimate), f"{100 * check.margin:.3g} %"
    if state == "regressed":
        verdict = Verdict.REGRESSED
        reason = f"worse by more than {margin}: {seen}, p {as_p(p_worse)} {established}"
    elif state == "improved":
        verdict = Verdict.IMPROVED
        reason = f"better by more than {margin}: {seen}, p {as_p(p_better)} {established}"
    elif state == "pass":
        verdict, reason = Verdict.PASS, f"a change of {margin} to the worse is excluded"
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = _undecided(check, change, margins.loss, alpha if passing is None else passing)
    return check.model_copy(
        update={"verdict": verdict, "reason": reason, "p_worse_adjusted": p_worse}
    )


def _undecided(check: Check, change: decision.Change, loss: float, alpha: float) -> str:
    assert check.n is not None
    assert check.estimate is not None
    needed = launches_needed(check.n, float(change.gain - change.lower), loss, alpha, _POWER)
    many = f"about {needed} launches" if needed is not None else "more than 200 launches"
    cost = f"{many} an arm would pass an equal arm {_POWER:.0%} of the time"
    if decision.is_beyond(change, loss):
        return f"{as_change(check.estimate)}, but not statistically significant; {cost}"
    return f"neither excluded nor established with {check.n} launches an arm; {cost}"
