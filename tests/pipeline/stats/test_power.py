"""Planned comparisons: against normal theory, exact sums, and what the verdict itself does."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from pipeline.stats import launch_ratio, paired_difference
from pipeline.stats.decision import unseen_collapse
from pipeline.stats.launch_power import (
    launches_for,
    ratio_chances,
    smallest_ratio,
    smallest_sign_flip_p,
)
from pipeline.stats.power import (
    Comparison,
    Difficulty,
    Judge,
    draw_differences,
    operating_curve,
    rates,
    repeats_for,
    smallest_drop,
)

GPQA = Comparison(
    difficulty=Difficulty(score=0.868, within=0.045), questions=198, repeats=8,
    reference_repeats=8, margin=0.02, alpha=0.05,
)  # fmt: skip


NAMES = ("passes", "regressed")


@pytest.mark.parametrize(("score", "within"), [(0.98, 0.012), (0.5, 0.25), (0.9, 0.0), (0.3, 0.1)])
def test_difficulty_has_the_score_and_the_variance_it_says(score: float, within: float) -> None:
    p = Difficulty(score=score, within=within).chances(np.random.default_rng(1), (400_000,))
    assert p.mean() == pytest.approx(score, abs=0.003)
    assert (p * (1 - p)).mean() == pytest.approx(within, abs=0.001)
    assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize(("score", "within"), [(0.0, 0.0), (1.0, 0.0), (0.9, 0.2), (0.9, -0.1)])
def test_impossible_difficulties_are_refused(score: float, within: float) -> None:
    with pytest.raises(ValueError, match="variance inside a question"):
        Difficulty(score=score, within=within)


@pytest.mark.parametrize("concentrated", [None, 0.03, 0.5])
def test_drawn_differences_lose_what_they_should(concentrated: float | None) -> None:
    rng = np.random.default_rng(2)
    d = draw_differences(GPQA, 0.02, 2000, rng, concentrated=concentrated)
    assert d.shape == (2000, 198)
    assert d.mean() == pytest.approx(-0.02, abs=0.0008)
    score, square = 0.868, 0.868 - 0.045  # means of p and p^2
    kept = 1 - 0.02 / score
    spread = (0.045 + kept * score - kept**2 * square) / 8
    if concentrated is None:
        assert d.var() == pytest.approx(spread, rel=0.03)
    elif concentrated < 0.1:
        assert d.var() > 1.5 * spread  # whole questions lost weigh more than a little of all


def test_a_judge_remembers_and_says_what_the_comparison_says() -> None:
    judge = Judge()
    d = np.array([0.0] * 50 + [-1.0] * 3 + [1.0])
    expected = paired_difference(
        {str(i): 1.0 - max(x, 0) for i, x in enumerate(d)},
        {str(i): 1.0 + min(x, 0) for i, x in enumerate(d)},
        0.05,
    )
    assert judge(d, 0.05) == expected
    assert judge(d[::-1], 0.05) is judge(d, 0.05)
    assert judge(d, 0.01).interval.lower < expected.interval.lower
    assert judge(np.append(d, 0.0), 0.05).n == 55  # the same flips among more questions


def test_power_of_one_look_is_that_of_normal_theory_where_it_holds() -> None:
    error = sqrt(2 * 0.045 / 8 / 198)
    theory = stats.norm.sf(stats.norm.isf(0.05) - 0.02 / error)
    assert rates(GPQA, 0.0).passes == pytest.approx(theory, abs=0.04)
    assert rates(GPQA, GPQA.margin).passes == pytest.approx(0.05, abs=0.02)


def test_power_of_exact_mcnemar_by_hand() -> None:
    """Every question is right in the reference; each is lost with 0.1: binomial flips, one way.

    Five flips in 40 are p = 1/32 and leave a loss of 5 points open; four are p = 1/16.
    """
    one = Comparison(
        difficulty=Difficulty(score=1 - 1e-9, within=0.0), questions=40, repeats=1,
        reference_repeats=1, margin=0.05, alpha=0.05,
    )  # fmt: skip
    found = rates(one, 0.1, runs=4000).regressed
    assert found == pytest.approx(stats.binom.sf(4, 40, 0.1), abs=0.025)
    strict = rates(replace(one, alarms=10), 0.1, runs=4000).regressed  # 2^-8 < 0.005 < 2^-7
    assert strict == pytest.approx(stats.binom.sf(7, 40, 0.1), abs=0.015)


def test_the_smallest_drop_is_found_with_the_power_and_a_smaller_one_is_not() -> None:
    drop = smallest_drop(GPQA, 0.8, runs=600)
    assert drop is not None
    # The margin of 2 points and 0.84 standard errors of 0.87 points (normal theory).
    assert 0.02 < drop < 0.03
    assert rates(GPQA, drop, runs=600).regressed >= 0.8
    assert rates(GPQA, 0.9 * drop, runs=600).regressed < 0.8


@pytest.mark.parametrize("stages", [1, 5])
def test_the_operating_curve_goes_from_pass_to_regressed(stages: int) -> None:
    """Normal theory: at the margin half of the estimates lie beyond it, and 95 % do not pass."""
    curve = operating_curve(replace(GPQA, margin=0.03), stages=stages, runs=400)
    assert list(curve) == [0, 0.25, 0.5, 0.75, 1, 1.5, 2]
    passes, regressed = ([getattr(at, name) for at in curve.values()] for name in NAMES)
    assert passes == sorted(passes, reverse=True)
    assert regressed == sorted(regressed)
    assert passes[0] > 0.95
    assert passes[4] < 0.05 + 3 * sqrt(0.05 * 0.95 / 400)
    error = sqrt(2 * 0.045 / 8 / 198)
    half = stats.norm.sf(0.015 / error)  # beyond the margin of 3, with a true loss of 1.5 points
    if stages == 1:
        assert regressed[2] == pytest.approx(half, abs=0.03)
        assert regressed[4] == pytest.approx(0.5, abs=0.08)
        assert {at.asked for at in curve.values()} == {1.0}
    else:
        assert regressed[4] > 0.5  # each stage is another chance to lie beyond it
        assert curve[0].asked < 0.75
    assert regressed[6] > 0.98
    alone = rates(replace(GPQA, margin=0.03), 0.03, stages=stages, runs=400)
    assert curve[1] == alone


def test_no_curve_beyond_the_score() -> None:
    rare = replace(GPQA, difficulty=Difficulty(score=0.1, within=0.05), margin=0.06)
    assert max(operating_curve(rare, runs=5)) == 1.5


def test_four_questions_find_nothing() -> None:
    assert smallest_drop(replace(GPQA, questions=4, repeats=1, reference_repeats=1)) is None


def test_repeats_for_a_margin() -> None:
    needed = repeats_for(GPQA, 198, 0.8, runs=400)
    assert needed is not None
    assert needed == pytest.approx((1.645 + 0.842) ** 2 * 2 * 0.045 / 198 / 0.02**2, abs=2)
    apart = replace(GPQA, difficulty=Difficulty(score=0.5, within=0.25), margin=0.001)
    assert repeats_for(apart, 10, 0.8, runs=50) is None


def test_a_collapse_of_two_percent_is_missed_by_a_hundred_questions() -> None:
    assert unseen_collapse(100, 0.02) == pytest.approx(0.1326, abs=1e-4)


def test_chances_of_launches_are_those_of_the_real_comparison() -> None:
    rng = np.random.default_rng(3)
    spread, margin, n, runs = 0.01, log(1.02), 4, 1500
    passes = 0
    for _ in range(runs):
        logs = rng.normal(0, spread, n)
        seen = launch_ratio(
            dict.fromkeys(range(n), 10.0), {i: 10 * float(np.exp(x)) for i, x in enumerate(logs)},
            0.05,
        )  # fmt: skip
        assert seen.interval is not None
        passes += log(seen.interval.upper) < margin
    assert ratio_chances(n, spread, margin, 0.05)[0] == pytest.approx(passes / runs, abs=0.04)


def test_a_change_at_the_margin_passes_with_alpha_and_a_large_one_is_found() -> None:
    margin = log(1.03)
    passes, regressed = ratio_chances(4, 0.007, margin, 0.05, change=margin)
    assert passes == pytest.approx(0.05, abs=0.008)
    assert regressed > 0.4  # half of the estimates lie beyond the margin
    assert ratio_chances(4, 0.007, margin, 0.05, alarms=12, change=0.2)[1] > 0.99
    assert ratio_chances(4, 0.007, margin, 0.05)[1] == 0.0


def test_smallest_ratio_and_launches_needed() -> None:
    def chances(change: float) -> tuple[float, float]:
        return ratio_chances(4, 0.007, 0.03, 0.05, alarms=12, change=change)

    found = smallest_ratio(chances)
    assert found is not None
    assert chances(found)[1] >= 0.8 > chances(0.95 * found)[1]
    assert smallest_ratio(lambda change: (0.0, 0.0)) is None
    needed = launches_for(0.02, 0.03, 0.05)
    assert needed is not None
    assert ratio_chances(needed, 0.02, 0.03, 0.05)[0] >= 0.8
    assert ratio_chances(needed - 1, 0.02, 0.03, 0.05)[0] < 0.8
    assert launches_for(0.5, 0.001, 0.05) is None


def test_signs_alone_need_five_blocks_for_five_percent() -> None:
    assert smallest_sign_flip_p(4) == 1 / 16
    assert smallest_sign_flip_p(5) == 1 / 32
