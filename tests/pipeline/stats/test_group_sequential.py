"""Published bounds, what stages may and may not say, and simulated error rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.stats import Design, decide, make_design, paired_difference, state_of
from pipeline.stats.group_sequential import SPENDING, Spending, nominal_levels
from pipeline.stats.power import (
    Comparison,
    Difficulty,
    Judge,
    ask_in_stages,
    draw_differences,
)

GSM8K = Difficulty(score=0.98, within=0.012)


def answers(n: int, *, lost: int = 0, gained: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """Reference and arm; the first ``lost`` are right in the reference only."""
    reference = {f"q{i}": float(i < n - gained) for i in range(n)}
    arm = {f"q{i}": float(i >= lost) for i in range(n)}
    return reference, arm


@pytest.mark.parametrize(
    ("spending", "bounds"),
    [
        # Five equal looks at one-sided 0.025, as in the tables of Lan and DeMets' program and of
        # R's ldbounds (types 1 and 2).
        ("obrien-fleming", [4.877, 3.357, 2.680, 2.290, 2.031]),
        ("pocock", [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
)
def test_published_bounds(spending: Spending, bounds: list[float]) -> None:
    levels = nominal_levels([0.2, 0.4, 0.6, 0.8, 1.0], 0.025, spending)
    assert [round(float(norm.isf(level)), 3) for level in levels] == bounds


@pytest.mark.parametrize("spending", SPENDING)
def test_every_spending_ends_at_alpha_and_rises(spending: Spending) -> None:
    spent = [SPENDING[spending](0.05, t) for t in (0.01, 0.1, 0.4, 0.9, 1.0)]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(0.05)
    assert 0 < spent[0] < 0.002


def test_all_looks_together_cross_with_chance_alpha() -> None:
    shares = np.arange(1, 11) / 10
    bounds = norm.isf(nominal_levels(shares.tolist(), 0.05, "power-1.5"))
    steps = np.random.default_rng(2).normal(0, np.sqrt(0.1), (200_000, 10))
    crossed = (np.cumsum(steps, 1) / np.sqrt(shares) > bounds).any(1).mean()
    assert crossed == pytest.approx(0.05, abs=0.002)


def test_one_stage_is_the_fixed_design() -> None:
    design = make_design(300, 0.02, 0.05, stages=1, alarms=4)
    assert design.sizes == (300,)
    assert design.pass_levels == pytest.approx((0.05,))
    assert design.harm_levels == pytest.approx((0.0125,))


def test_no_pass_before_a_collapse_of_the_margin_would_show() -> None:
    """0.98^148 > 0.05 > 0.98^149: of 198 questions in ten stages, the eighth is the first."""
    design = make_design(198, 0.02, 0.05)
    assert design.sizes[:2] == (19, 39)
    assert [level > 0 for level in design.pass_levels] == [False] * 7 + [True] * 3
    assert all(level > 0 for level in design.harm_levels)
    never = make_design(100, 0.01, 0.05)  # 0.99^298 is the first below 0.05
    assert set(never.pass_levels) == {0.0}
    assert decide(never, 9, *answers(100, gained=20)).outcome == "undecided"


@pytest.mark.parametrize(
    "bad", [(0, 0.02, 0.05), (100, 0.0, 0.05), (100, 1.0, 0.05), (100, 0.02, 0.5)]
)
def test_numbers_out_of_range_are_refused(bad: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="a design needs"):
        make_design(*bad)


def test_few_questions_make_few_stages() -> None:
    assert make_design(3, 0.5, 0.05).sizes == (1, 2, 3)


DESIGN = make_design(1000, 0.02, 0.05, alarms=9)


def test_garbage_is_regressed_after_the_first_stage() -> None:
    found = decide(DESIGN, 0, *answers(100, lost=97))
    assert (found.outcome, found.stage, found.questions, found.of) == ("regressed", 0, 100, 1000)
    assert found.difference.difference == pytest.approx(-0.97)


def test_a_loss_that_may_be_chance_goes_on() -> None:
    """Ten flips one way are p = 0.001: an alarm for one look at one arm, none for this one."""
    assert decide(DESIGN, 0, *answers(100, lost=10)).outcome == "continue"


def test_agreement_passes_once_enough_was_asked_and_not_before() -> None:
    assert decide(DESIGN, 0, *answers(100)).outcome == "continue"
    outcomes = [decide(DESIGN, s, *answers(size)).outcome for s, size in enumerate(DESIGN.sizes)]
    first = outcomes.index("pass")
    assert set(outcomes[:first]) == {"continue"}
    assert 2 <= first <= 4
    assert set(outcomes[first:]) == {"pass"}


def test_a_small_loss_is_undecided_at_the_end_only() -> None:
    reference, arm = answers(1000, lost=60, gained=44)
    assert decide(DESIGN, 9, reference, arm).outcome == "undecided"
    assert decide(DESIGN, 8, *answers(900, lost=54, gained=40)).outcome == "continue"


def test_a_rate_of_something_bad_is_judged_the_other_way_round() -> None:
    reference, arm = answers(100, lost=97)
    assert decide(DESIGN, 0, arm, reference, higher_is_better=False).outcome == "regressed"
    assert decide(DESIGN, 0, arm, reference).outcome == "continue"  # better, and too early to pass


def test_more_than_the_stage_asks_is_refused() -> None:
    with pytest.raises(ValueError, match="ends with 100 questions, not 101"):
        decide(DESIGN, 0, *answers(101))
    with pytest.raises(ValueError, match="stages 0 to 9, not 10"):
        decide(DESIGN, 10, *answers(10))


def test_the_rule_has_three_states() -> None:
    alike = paired_difference(*answers(1000), 0.05)
    lower = paired_difference(*answers(1000, lost=40), 0.05)
    assert state_of(alike, 0.02, 0.05, alpha=0.05) == "pass"
    # No flip at all is no proof of 0.2 points.
    assert state_of(alike, 0.002, 0.05, alpha=0.05) == "undecided"
    assert state_of(lower, 0.02, 0.05, alpha=0.05) == "regressed"
    # The alarm's level is not reached.
    assert state_of(lower, 0.02, 1e-13, alpha=0.05) == "undecided"
    assert state_of(lower, 0.08, 0.05, alpha=0.05) == "pass"  # worse, and within the margin
    assert state_of(lower, 0.02, 0.05, alpha=0.05, higher_is_better=False) == "pass"


def rates(design: Design, one: Comparison, drop: float, runs: int) -> tuple[float, float, float]:
    """Share that passes, share that is regressed, mean share of the questions asked."""
    judge = Judge()
    rows = draw_differences(one, drop, runs, np.random.default_rng(20261124))
    ends = [ask_in_stages(row, design, judge) for row in rows]
    outcomes = [outcome for outcome, _ in ends]
    asked = sum(questions for _, questions in ends) / runs / design.sizes[-1]
    return outcomes.count("pass") / runs, outcomes.count("regressed") / runs, asked


def test_stages_keep_the_error_rates_and_save_questions() -> None:
    one = Comparison(
        difficulty=GSM8K, questions=1319, repeats=1, reference_repeats=1, margin=0.015, alpha=0.05
    )
    design = make_design(one.questions, one.margin, one.alpha)
    false_passes, _, _ = rates(design, one, one.margin, 1500)
    assert false_passes < 0.05 + 3 * 0.0056
    passes, alarms, asked = rates(design, one, 0.0, 1500)
    assert passes > 0.9
    assert alarms < 0.05 + 3 * 0.0056
    assert asked < 0.65


def test_the_whole_set_is_asked_where_nothing_can_be_decided() -> None:
    one = Comparison(
        difficulty=GSM8K, questions=100, repeats=1, reference_repeats=1, margin=0.005, alpha=0.05
    )
    _, _, asked = rates(make_design(100, 0.005, 0.05), one, 0.0, 100)
    assert asked == 1.0
