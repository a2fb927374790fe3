from __future__ import annotations

import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.gate.model import Verdict
from pipeline.history.comparisons import by_nights, by_questions, by_scores, decided
from pipeline.history.model import CellValue, Night, NightCheck
from pipeline.plan.model import LayoutKey

LAYOUT = LayoutKey(tp=8, attention_dp=2, ep=1, nodes=1)


def cell(metric: str, value: float, **more: object) -> CellValue:
    made = {"layout": LAYOUT, "arm": "a", "job": "j", "metric": metric, "value": value, **more}
    return CellValue.model_validate(made)


def check(metric: str, margin: float, measure: str) -> NightCheck:
    return NightCheck.model_validate(
        {
            "layout": LAYOUT, "arm": "a", "job": "j", "metric": metric, "baseline": "rolling",
            "measure": measure, "margin": margin,
        }
    )  # fmt: skip


def nights(metric: str, values: list[float]) -> list[Night]:
    return [
        Night(
            experiment="e", run=f"r{n}", folder="", started_at=f"{n:02d}", plan_hash="",
            verdict="pass", cells=[cell(metric, value)], facts=[],
        )
        for n, value in enumerate(values)
    ]  # fmt: skip


SHIFTS = [0.010, 0.011, 0.010, 0.012, 0.011, 0.010, 0.011, 0.010]


@pytest.mark.parametrize(
    ("tonight", "verdict"),
    [(0.011, Verdict.PASS), (0.05, Verdict.REGRESSED), (0.001, Verdict.PASS)],
)
def test_a_shift_of_logprobs_is_judged_as_it_is_not_as_a_ratio(
    tonight: float, verdict: Verdict
) -> None:
    base = nights("logprob_shift", SHIFTS)
    open_ = check("logprob_shift", 0.02, "difference")
    made = by_nights(open_, cell("logprob_shift", tonight), base, [base], 0.05)
    assert made.estimate == pytest.approx(tonight - sum(SHIFTS) / 8, abs=3e-4)
    assert made.p_worse is not None
    assert decided(made, made.p_worse, 0.005).verdict is verdict


def test_throughput_is_worse_when_it_is_less() -> None:
    values = [100.0, 100.3, 99.8, 100.1, 99.9, 100.2, 100.0, 99.9]
    base = nights("output_throughput", values)
    for tonight, verdict in ((92.0, Verdict.REGRESSED), (108.0, Verdict.IMPROVED)):
        made = by_nights(
            check("output_throughput", 0.03, "ratio"), cell("output_throughput", tonight),
            base, [base], 0.05,
        )  # fmt: skip
        assert made.p_worse is not None
        assert decided(made, made.p_worse, 0.005).verdict is verdict


def test_launches_that_scatter_keep_nights_from_looking_alike() -> None:
    """Three nights that happen to agree, each of launches 5 % apart, prove no 3 %."""
    base = nights("median_itl_ms", [10.0, 10.0, 10.0, 10.0])
    loose = cell("median_itl_ms", 10.4, launches=[9.9, 10.4, 10.9])
    seen = by_nights(check("median_itl_ms", 0.03, "ratio"), loose, base, [base], 0.05)
    tight = by_nights(
        check("median_itl_ms", 0.03, "ratio"), cell("median_itl_ms", 10.4), base, [base], 0.05
    )
    assert seen.p_worse is not None
    assert tight.p_worse is not None
    assert tight.p_worse < 0.005 < seen.p_worse


def test_questions_that_only_one_side_was_asked_are_not_compared() -> None:
    open_ = check("score", 0.03, "difference")
    full = {f"q{n}": 1.0 for n in range(50)}
    fewer = {f"q{n}": 1.0 for n in range(40)}
    assert by_questions(open_, fewer, [full], 0.05).n == 40  # a job in stages, stopped earlier
    other = by_questions(open_, {**fewer, "x": 1.0}, [full], 0.05)
    assert other.verdict is Verdict.MISSING
    assert other.estimate is None


def wilson(successes: int, n: int) -> tuple[float, float]:
    lower, upper = proportion_confint(successes, n, alpha=0.05, method="wilson")
    return float(lower), float(upper)


def test_score_against_score_is_newcombes_interval() -> None:
    """Newcombe 1998, table II, method 10, example (a): 56/70 - 48/80 = 0.2 [0.0524, 0.3339]."""
    tonight = cell("score", 56 / 70, n=70, interval=wilson(56, 70))
    base = cell("score", 48 / 80, n=80, interval=wilson(48, 80))
    made = by_scores(check("score", 0.03, "difference"), tonight, [base], 0.025)
    assert made.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert made.p_worse is not None
    assert made.p_worse > 0.99


def test_more_errors_are_worse() -> None:
    low = cell("error_rate", 0.0, n=500, interval=(0.0, 0.006))
    high = cell("error_rate", 0.2, n=500, interval=(0.17, 0.23))
    made = by_scores(check("error_rate", 0.02, "difference"), high, [low], 0.05)
    assert made.p_worse is not None
    assert decided(made, made.p_worse, 0.005).verdict is Verdict.REGRESSED
    back = by_scores(check("error_rate", 0.02, "difference"), low, [high], 0.05)
    assert back.p_worse is not None
    assert decided(back, back.p_worse, 0.005).verdict is Verdict.IMPROVED
