"""Regressed takes both: beyond the margin in the bad direction, and established."""

from __future__ import annotations

from math import exp

import pytest

from pipeline.gate import Check, Verdict
from pipeline.gate.accuracy import decide_difference
from pipeline.gate.speed import decide_ratio
from pipeline.stats import Interval, PairedDifference, state_of

ALPHA = 0.05


def score(estimate: float, lower: float, upper: float, metric: str = "score") -> Check:
    return Check(
        job="gsm8k", metric=metric, against="reference", gated=True, measure="difference",
        estimate=estimate, interval=(lower, upper), margin=0.02, n=1000,
    )  # fmt: skip


@pytest.mark.parametrize(("estimate", "lower", "upper", "p", "verdict"), [
    (-0.03, -0.045, -0.015, 0.001, Verdict.REGRESSED),  # beyond the margin and established
    (-0.03, -0.065, 0.005, 0.2, Verdict.INCONCLUSIVE),  # beyond it, not established
    (-0.03, -0.045, -0.015, 0.06, Verdict.INCONCLUSIVE),  # the same, after Holm
    (-0.015, -0.025, -0.005, 0.001, Verdict.INCONCLUSIVE),  # established, not beyond it
    (-0.01, -0.015, -0.005, 0.001, Verdict.PASS),  # worse for sure, by less than the margin
])  # fmt: skip
def test_scores(estimate: float, lower: float, upper: float, p: float, verdict: Verdict) -> None:
    assert decide_difference(score(estimate, lower, upper), p, 1.0, ALPHA).verdict is verdict
    # A rate of something bad: the same, mirrored.
    mirrored = score(-estimate, -upper, -lower, "truncated_rate")
    assert decide_difference(mirrored, p, 1.0, ALPHA).verdict is verdict
    # And where questions are asked in stages.
    seen = PairedDifference(
        difference=estimate, interval=Interval(lower, upper), p_lower=p, p_higher=1 - p, n=1000,
        higher=0, lower=0, method="",
    )  # fmt: skip
    words = {Verdict.INCONCLUSIVE: "undecided"}
    assert state_of(seen, 0.02, ALPHA, alpha=ALPHA) == words.get(verdict, verdict.value)


def test_few_questions_pass_nothing() -> None:
    """0.98^148 > 0.05 > 0.98^149."""
    check = score(0.0, -0.01, 0.01)
    assert decide_difference(check, 1.0, 1.0, ALPHA).verdict is Verdict.PASS
    for n, verdict in ((149, Verdict.PASS), (148, Verdict.INCONCLUSIVE)):
        few = decide_difference(check.model_copy(update={"n": n}), 1.0, 1.0, ALPHA)
        assert few.verdict is verdict
    assert few.reason == (
        "too few questions: 148 miss a loss of 2 points that is confined to a few questions "
        "5.0% of the time; ask at least 149"
    )


@pytest.mark.parametrize(("change", "half", "p", "verdict"), [
    (0.05, 0.01, 0.001, Verdict.REGRESSED),
    (0.05, 0.08, 0.2, Verdict.INCONCLUSIVE),
    (0.02, 0.015, 0.001, Verdict.INCONCLUSIVE),
    (0.01, 0.005, 0.001, Verdict.PASS),
    (-0.05, 0.01, 1.0, Verdict.PASS),
])  # fmt: skip
def test_speeds(change: float, half: float, p: float, verdict: Verdict) -> None:
    for metric, sign in (("median_itl_ms", 1), ("output_throughput", -1)):
        bounds = sorted(exp(sign * (change + side * half)) for side in (-1, 1))
        check = Check(
            job="latency", metric=metric, against="reference", gated=True, measure="ratio",
            estimate=exp(sign * change), interval=(bounds[0], bounds[1]), margin=0.03, n=4,
        )  # fmt: skip
        assert decide_ratio(check, p, 1.0, ALPHA).verdict is verdict


def test_what_is_worse_by_less_than_the_margin_is_told_so() -> None:
    check = decide_difference(score(-0.015, -0.025, -0.005), 0.001, 1.0, ALPHA)
    assert check.reason.startswith("worse: -1.5 points, and a loss of 2 points is not excluded")
