"""Published examples, statsmodels and scipy as second opinions, and simulated error rates."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from pipeline.stats import (
    clopper_pearson,
    holm,
    launch_ratio,
    launches_needed,
    mean_score,
    paired_difference,
    questions_needed,
    state_of,
    tango,
)
from pipeline.stats.paired import difference_of
from pipeline.stats.power import Comparison, Difficulty, draw_differences
from pipeline.stats.proportions import mean_interval


def flips(better: int, worse: int, n: int) -> tuple[dict[str, float], dict[str, float]]:
    """Reference and arm that differ on the given numbers of ``n`` questions."""
    reference = {f"q{i}": float(i >= better) for i in range(n)}
    arm = {f"q{i}": float(i < n - worse) for i in range(n)}
    return reference, arm


def test_clopper_and_pearson_of_98_in_100() -> None:
    """As R's binom.test(98, 100) prints it."""
    lower, upper = clopper_pearson(98, 100, 0.025)
    assert (round(lower, 7), round(upper, 7)) == (0.9296161, 0.9975687)


@pytest.mark.parametrize("successes", [0, 1, 37, 99, 100])
def test_clopper_and_pearson_are_those_of_statsmodels(successes: int) -> None:
    expected = proportion_confint(successes, 100, alpha=0.1, method="beta")
    assert clopper_pearson(successes, 100, 0.05) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("better", "worse", "n", "lower", "upper", "digits"),
    [
        # Complete response before and after therapy (Cavo et al. 2012), as the tests of R's
        # contingencytables print it.
        (6, 16, 161, -0.1240, -0.0054, 4),
        # Airway hyper-responsiveness (Bentur et al. 2009), an example of Fagerland, Lydersen,
        # Laake, Statist. Med. 33 (2014) 2850-2875.
        (1, 7, 21, -0.517, -0.026, 3),
    ],
)
def test_tango_of_published_tables(
    better: int, worse: int, n: int, lower: float, upper: float, digits: int
) -> None:
    found = tango(better, worse, n, 0.025)
    assert [round(bound, digits) for bound in found] == [lower, upper]


def test_tango_solves_its_own_equation() -> None:
    """At each bound the score statistic with the constrained estimate is exactly +-z."""
    b, c, n, alpha = 5, 11, 300, 0.05
    z = stats.norm.ppf(1 - alpha)
    for bound, expected in zip(tango(b, c, n, alpha), (z, -z), strict=True):
        q = np.linspace(1e-9, 1, 400_001)
        p = q + bound  # P(only the arm is right) under the hypothesis
        inside = (p > 0) & (p + q < 1)
        q, p = q[inside], p[inside]
        likelihood = b * np.log(p) + c * np.log(q) + (n - b - c) * np.log(1 - p - q)
        best = q[np.argmax(likelihood)]
        statistic = (b - c - n * bound) / sqrt(n * (2 * best + bound * (1 - bound)))
        assert statistic == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("n", [60, 100, 1319])
def test_agreement_everywhere_is_no_proof_of_equality(n: int) -> None:
    reference, arm = flips(0, 0, n)
    found = paired_difference(reference, arm, 0.05)
    z2 = stats.norm.ppf(0.95) ** 2
    assert found.interval == pytest.approx((-z2 / (n + z2), z2 / (n + z2)))
    assert (found.p_lower, found.p_higher, found.difference) == (1.0, 1.0, 0.0)


def test_agreement_of_repeats_is_no_proof_either() -> None:
    scores = {f"q{i}": i % 5 / 4 for i in range(50)}
    found = paired_difference(scores, dict(scores), 0.05)
    assert found.interval.lower < -0.05
    assert found.interval.upper > 0.05


def test_mcnemar_is_exact_and_one_sided() -> None:
    reference, arm = flips(6, 16, 161)
    found = paired_difference(reference, arm, 0.05)
    assert (found.higher, found.lower, found.n) == (6, 16, 161)
    assert found.difference == pytest.approx(-10 / 161)
    assert 2 * found.p_lower == pytest.approx(0.052479, abs=1e-6)  # R's contingencytables
    both = mcnemar([[0, 6], [16, 0]], exact=True).pvalue
    assert 2 * found.p_lower == pytest.approx(both)
    assert found.p_higher > 0.9


def test_five_one_way_flips_are_the_fewest_that_reach_five_percent() -> None:
    assert paired_difference(*flips(0, 4, 100), 0.05).p_lower == pytest.approx(1 / 16)
    assert paired_difference(*flips(0, 5, 100), 0.05).p_lower == pytest.approx(1 / 32)


def test_many_repeats_give_the_paired_t_over_questions() -> None:
    rng = np.random.default_rng(7)
    p = rng.beta(2, 2, 198)
    reference = dict(enumerate(rng.binomial(8, p) / 8))
    arm = dict(enumerate(rng.binomial(8, p) / 8))
    found = paired_difference(
        {str(k): float(v) for k, v in reference.items()},
        {str(k): float(v) for k, v in arm.items()},
        0.05,
    )
    a, r = np.array(list(arm.values())), np.array(list(reference.values()))
    test = stats.ttest_rel(a, r, alternative="less")
    interval = stats.ttest_rel(a, r).confidence_interval(0.90)
    assert found.p_lower == pytest.approx(test.pvalue)
    skew = stats.skew(a - r)
    assert skew < 0  # so the lower bound is a little below Student's, and the upper one is his
    assert found.interval.upper == pytest.approx(interval.high)
    assert interval.low - 0.001 < found.interval.lower < interval.low


def test_without_skewness_the_interval_is_students() -> None:
    d = np.repeat([-0.25, -0.125, 0.0, 0.125, 0.25], 20)
    found = difference_of(d, 0.05)
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.90)
    assert found.interval == pytest.approx((interval.low, interval.high))


def test_the_bound_on_the_skewed_side_has_the_spread_at_the_bound() -> None:
    """20 of 400 are lost: variance and slope of yes or no are p (1 - p) and 2p - 1, taken twice."""
    found = mean_interval(np.repeat([0.0, 1.0], [20, 380]), 0.025)
    t2 = stats.t.ppf(0.975, 399) ** 2
    down = 0.95 - found.lower
    assert down**2 == pytest.approx(t2 / 400 * (0.95 * 0.05 + 2 * 0.9 * down), rel=0.005)
    assert found.upper - 0.95 == pytest.approx(sqrt(t2 * 0.95 * 0.05 / 400), rel=0.005)


def test_a_loss_in_few_questions_passes_no_more_often_than_it_should() -> None:
    """A loss of the margin that is whole on 2.3 % of the questions; Student's t passes 8 %."""
    rng, runs, n, margin = np.random.default_rng(20261124), 3000, 198, 0.02
    gpqa = Difficulty(score=0.868, within=0.045)
    one = Comparison(
        difficulty=gpqa, questions=n, repeats=8, reference_repeats=8, margin=margin, alpha=0.05
    )
    d = draw_differences(one, margin, runs, rng, concentrated=0.02)
    passes = sum(difference_of(row, 0.05).interval.lower > -margin for row in d) / runs
    students = d.mean(1) - stats.t.ppf(0.95, n - 1) * d.std(1, ddof=1) / sqrt(n)
    assert (students > -margin).mean() > 0.072
    assert passes < 0.057


def test_few_questions_do_not_pass_however_often_they_are_asked() -> None:
    """0.96^73 > 0.05 > 0.96^74: a loss of 4 points may lie on questions that were not asked."""
    scattered = np.tile([0.125, -0.125], 37)
    for n, state in ((73, "undecided"), (74, "pass")):
        seen = difference_of(scattered[:n], 0.05)
        assert seen.interval.lower > -0.04
        assert state_of(seen, 0.04, 0.05, alpha=0.05) == state


def test_few_differing_questions_give_the_exact_permutation_test() -> None:
    d = np.zeros(40)
    d[:6] = [-0.75, -0.5, -0.5, 0.25, -0.25, -1.0]
    reference = {str(i): 1.0 if x < 0 else 0.0 for i, x in enumerate(d)}
    arm = {str(i): reference[str(i)] + x for i, x in enumerate(d)}
    found = paired_difference(reference, arm, 0.05)
    second = stats.permutation_test(
        (d[:6],), np.mean, permutation_type="samples", alternative="less", n_resamples=np.inf
    )
    assert found.p_lower == pytest.approx(second.pvalue)
    assert found.interval.lower < float(stats.ttest_1samp(d, 0).confidence_interval(0.9).low)


def test_questions_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="same questions"):
        paired_difference({"a": 1.0}, {"b": 1.0}, 0.05)
    with pytest.raises(ValueError, match="at least one"):
        paired_difference({}, {}, 0.05)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_a_mean_of_equal_scores_keeps_a_width(score: float) -> None:
    lower, upper = mean_score([score] * 80, 0.05)
    assert upper - lower > 0.03
    assert 0 <= lower <= score <= upper <= 1


def test_a_mean_over_repeats_is_a_quantile_of_dirichlet_weights() -> None:
    """Gaffke's bound, drawn: one more score, the worst there is, has a weight like the others."""
    rng = np.random.default_rng(3)
    scores = rng.binomial(8, rng.beta(8, 1, 60)) / 8
    weights = rng.dirichlet(np.ones(61), 200_000)
    lower, upper = mean_score(scores.tolist(), 0.05)
    assert lower == pytest.approx(np.quantile(weights @ np.append(scores, 0), 0.05), abs=4e-4)
    assert upper == pytest.approx(np.quantile(weights @ np.append(scores, 1), 0.95), abs=4e-4)


@pytest.mark.parametrize(("wrong", "n"), [(4, 198), (1, 20), (50, 100), (19, 20)])
def test_nearly_yes_and_no_is_nearly_clopper_and_pearson(wrong: int, n: int) -> None:
    scores = [1e-9] * wrong + [1 - 1e-9] * (n - wrong)
    assert mean_score(scores, 0.0056) == pytest.approx(
        clopper_pearson(n - wrong, n, 0.0056), abs=1e-3
    )


@pytest.mark.parametrize("alpha", [0.05, 1e-6])
@pytest.mark.parametrize("scores", [[0.5], [0.25, 1.0], [1 / 3] * 500, [1.0] * 999 + [0.5]])
def test_a_mean_of_any_scores_has_an_interval(scores: list[float], alpha: float) -> None:
    lower, upper = mean_score(scores, alpha)
    assert 0 <= lower < np.mean(scores) < upper <= 1


def test_a_floor_is_broken_no_more_often_than_asked() -> None:
    """One of nine checks of 198 questions with a floor of 98 %; Wilson's errs in 1.9 %."""
    n, floor, level = 198, 0.98, 0.05 / 9
    right = range(150, n + 1)
    alarms = [mean_score([1.0] * k + [0.0] * (n - k), level).upper < floor for k in right]
    exact = float(stats.binom.pmf(np.array(right)[alarms], n, floor).sum())
    assert 0.001 < exact <= level
    # Asked eight times: some questions are never right, the others nearly always.
    rng, runs = np.random.default_rng(20261128), 1500
    chances = np.where(rng.random((runs, n)) < floor / 0.999, 0.999, 0.0)
    scores = rng.binomial(8, chances) / 8
    low = [row for row in scores if row.mean() < floor - 0.01]
    broken = sum(mean_score(row.tolist(), level).upper < floor for row in low) / runs
    assert broken < level + 3 * sqrt(level / runs)


def test_the_clustered_error_is_that_of_statsmodels() -> None:
    """Regression on the arm, clustered by question: its error is that of the paired difference."""
    rng = np.random.default_rng(11)
    n, k = 150, 8
    p = rng.beta(2, 2, n)
    arms = [rng.binomial(1, p[:, None], (n, k)) for _ in range(2)]
    y = np.concatenate([side.ravel() for side in arms])
    x = sm.add_constant(np.repeat([0.0, 1.0], n * k))
    fit = sm.OLS(y, x).fit(
        cov_type="cluster", cov_kwds={"groups": np.tile(np.repeat(np.arange(n), k), 2)}
    )
    d = arms[1].mean(1) - arms[0].mean(1)
    found = mean_interval(d, 0.05)
    # The bound without skewness has Student's quantile times the clustered error, of which
    # statsmodels corrects the degrees of freedom in another way (n k instead of n).
    correction = sqrt((2 * n * k - 1) / (2 * n * k - 2))
    side = found.upper if stats.skew(d) <= 0 else found.lower
    error = abs(side - d.mean()) / stats.t.ppf(0.95, n - 1)
    assert error == pytest.approx(fit.bse[1] / correction, rel=1e-6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_holm_is_that_of_statsmodels() -> None:
    p_values = [*np.random.default_rng(5).beta(0.4, 2, 40).tolist(), 1.0, 1.0, 0.0]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_questions_needed_follows_the_power_formula() -> None:
    """n = (z_alpha + z_power)^2 var / margin^2, Miller's formula without a true difference."""
    sd, n, margin = 0.3, 100, 0.02
    half = stats.norm.ppf(0.95) * sd / sqrt(n)
    exact = ((stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * sd / margin) ** 2
    assert questions_needed(n, half, margin, 0.05, 0.8) == int(exact) + 1


def test_false_passes_and_coverage_in_simulated_experiments() -> None:
    """At a true loss of the margin a pass is a false one: at most alpha, and noise of 1,000 runs.

    Difficulties are beta-distributed; the loss is spread over all questions.
    """
    rng = np.random.default_rng(20261124)
    alpha, margin, runs = 0.05, 0.03, 1000
    for n, k, a, b in ((198, 1, 8, 1), (198, 8, 2, 2), (100, 4, 6, 1)):
        passes = misses = 0
        for _ in range(runs):
            p = rng.beta(a, b, n)
            worse = p * (1 - margin / (a / (a + b)))
            found = paired_difference(
                {str(i): v for i, v in enumerate(rng.binomial(k, p) / k)},
                {str(i): v for i, v in enumerate(rng.binomial(k, worse) / k)},
                alpha,
            )
            passes += found.interval.lower > -margin
            misses += found.interval.upper < -margin
        assert passes / runs < 0.068, (n, k)  # 0.05 and 2.6 standard errors
        assert misses / runs < 0.068, (n, k)


def spread_values(log_differences: list[float]) -> tuple[dict[int, float], dict[int, float]]:
    """Launch values whose log differences inside blocks are the given ones, under strong drift."""
    drift = [10.0, 11.5, 9.0, 10.4, 12.0, 8.8]
    reference = {i: drift[i] for i in range(len(log_differences))}
    return reference, {i: drift[i] * exp(d) for i, d in enumerate(log_differences)}


def test_blocks_take_the_drift_out() -> None:
    d = [0.19, 0.18, 0.185, 0.175]
    reference, arm = spread_values(d)
    found = launch_ratio(reference, arm, 0.05)
    test = stats.ttest_1samp(d, 0, alternative="greater")
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.90)
    assert found.paired
    assert found.ratio == pytest.approx(exp(np.mean(d)))
    assert found.interval == pytest.approx((exp(interval.low), exp(interval.high)))
    assert found.p_higher == pytest.approx(test.pvalue)
    assert found.p_lower == pytest.approx(1 - test.pvalue)


def test_half_width_of_five_blocks_with_one_percent_spread() -> None:
    """1.24 % at 95 %: t_{0.975, 4} * 0.01 / sqrt(5)."""
    d = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    reference, arm = spread_values((d * 0.01 / d.std(ddof=1)).tolist())
    found = launch_ratio(reference, arm, 0.025)
    assert found.interval is not None
    assert log(found.interval.upper) == pytest.approx(0.0124, abs=5e-5)


def test_other_blocks_are_two_samples_by_welch() -> None:
    reference, arm = {0: 10.0, 1: 10.1, 2: 9.9}, {3: 12.0, 4: 12.3, 5: 11.7, 6: 12.1}
    found = launch_ratio(reference, arm, 0.05)
    logs = [np.log(list(side.values())) for side in (arm, reference)]
    test = stats.ttest_ind(*logs, equal_var=False)
    interval = test.confidence_interval(0.90)
    assert not found.paired
    assert found.interval == pytest.approx((exp(interval.low), exp(interval.high)))
    assert found.p_higher == pytest.approx(test.pvalue / 2)


def test_one_launch_has_a_ratio_and_no_interval() -> None:
    found = launch_ratio({0: 10.0}, {0: 8.0}, 0.05)
    assert found.ratio == pytest.approx(0.8)
    assert (found.interval, found.p_lower, found.p_higher) == (None, None, None)


def test_equal_values_do_not_prove_a_ratio_exactly() -> None:
    found = launch_ratio({0: 10.0, 1: 10.0, 2: 10.0}, {0: 10.0, 1: 10.0, 2: 10.0}, 0.05)
    assert found.interval is not None
    assert found.interval.upper == pytest.approx(exp(stats.t.ppf(0.95, 2) * 0.001 / sqrt(3)))


@pytest.mark.parametrize("bad", [{}, {0: 0.0}, {0: -1.0}])
def test_a_ratio_needs_positive_values(bad: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        launch_ratio({0: 1.0}, bad, 0.05)


def test_launches_needed_is_the_least_number_that_suffices() -> None:
    n, spread, margin = 3, 0.01, 0.02
    half = float(stats.t.ppf(0.95, n - 1)) * spread / sqrt(n)
    needed = launches_needed(n, half, margin, 0.05, 0.8)
    assert needed is not None

    def reached(m: int) -> float:
        return float((stats.t.ppf(0.95, m - 1) + stats.t.ppf(0.8, m - 1)) * spread / sqrt(m))

    assert reached(needed) <= margin < reached(needed - 1)
    assert launches_needed(3, 10.0, 0.001, 0.05, 0.8) is None
