"""A gain is claimed only against every baseline and above the noise floor."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.gate import Check, Judgement, Row, Verdict, judge
from pipeline.records.record import Status
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

SCORE = {"gsm8k": {"score": {"margin": 0.03}}}
ITL = {**SCORE, "latency": {"median_itl_ms": {"margin": 0.03}}}
ARMS = ("nccl", "default", "nccl-symmetric", "mixed-comm")
OTHERS = ("default", "nccl-symmetric")


def _judged(
    factors: dict[str, float], *, metric: str = "median_itl_ms", **changes: Any
) -> Judgement:
    told: dict[str, Any] = {
        "arms": ARMS, "dps": (2,), "launches": 5, "baselines": OTHERS,
        "gates": {**SCORE, "latency": {metric: {"margin": 0.03}}},
    }  # fmt: skip
    made = make_run(
        make_plan_for_test(**told | changes), speed=lambda arm, dp, m: factors.get(arm, 1.0)
    )
    return _judge(made)


def _judge(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, made.facts)


def _row(found: Judgement, arm: str = "mixed-comm") -> Row:
    (row,) = (row for row in found.rows if row.arm == arm)
    return row


def _checks(row: Row, against: str, metric: str = "median_itl_ms") -> dict[str, Check]:
    return {c.other: c for c in row.checks if (c.against, c.metric) == (against, metric)}


def test_the_ratio_to_every_baseline_and_to_the_best_of_them() -> None:
    row = _row(_judged({"default": 0.9, "nccl-symmetric": 0.95, "mixed-comm": 0.8}))
    each = _checks(row, "baseline")
    assert {name: check.verdict for name, check in each.items()} == dict.fromkeys(OTHERS)
    assert each["default"].estimate == pytest.approx(0.8 / 0.9, abs=0.003)
    assert each["nccl-symmetric"].estimate == pytest.approx(0.8 / 0.95, abs=0.003)
    (best,) = _checks(row, "best baseline").values()
    assert (best.other, best.estimate) == ("default", each["default"].estimate)
    assert best.interval is not None
    assert each["default"].interval is not None
    assert best.interval[1] >= each["default"].interval[1]  # whichever is truly the best
    assert best.interval[0] <= best.estimate if best.estimate else False
    assert best.p_better is not None
    assert each["default"].p_better is not None
    assert best.p_better >= each["default"].p_better


def test_a_gain_against_all_baselines_is_claimed() -> None:
    found = _judged({"default": 0.9, "nccl-symmetric": 0.95, "mixed-comm": 0.8})
    assert _row(found).verdict is Verdict.IMPROVED


def test_a_gain_over_the_reference_alone_is_a_pass_and_says_so() -> None:
    row = _row(_judged({"default": 0.78, "mixed-comm": 0.8}))
    assert row.verdict is Verdict.PASS
    assert "the best baseline is default, and against it +2.6 %" in row.reasons[1]
    assert _row(_judged({"default": 0.78, "mixed-comm": 0.8}, baselines=())).verdict is (
        Verdict.IMPROVED
    )


def test_for_throughput_the_best_baseline_is_the_one_with_most() -> None:
    factors = {"default": 1.1, "nccl-symmetric": 0.9, "mixed-comm": 1.2}
    row = _row(_judged(factors, metric="output_throughput"))
    (best,) = _checks(row, "best baseline", "output_throughput").values()
    assert best.other == "default"
    assert best.estimate == pytest.approx(1.2 / 1.1, abs=0.005)
    assert best.interval is not None
    assert best.interval[0] < 1.2 / 1.1 < best.interval[1]
    assert row.verdict is Verdict.IMPROVED


def test_a_baseline_without_records_leaves_no_gain_to_claim() -> None:
    plan = make_plan_for_test(arms=ARMS, dps=(2,), launches=5, baselines=OTHERS, gates=ITL)
    made = make_run(plan, speed=lambda arm, dp, m: 0.8 if arm == "mixed-comm" else 1.0)
    for cell in made.cells("nccl-symmetric", 2, "latency"):
        made.fail(cell, Status.UNSUPPORTED, "this host forbids multicast")
    row = _row(_judge(made))
    (best,) = _checks(row, "best baseline").values()
    assert best.estimate is None
    assert "forbids multicast" in best.reason
    assert row.verdict is Verdict.PASS
    assert "could not be held against every baseline" in row.reasons[1]


def test_a_regression_is_one_whatever_the_other_baselines_are() -> None:
    found = _judged({"default": 1.5, "nccl-symmetric": 1.5, "mixed-comm": 1.1})
    assert _row(found).verdict is Verdict.REGRESSED


def test_baselines_are_not_held_against_one_another() -> None:
    found = _judged({}, arms=(*ARMS, "again"), repeating=("again",))
    assert len(_checks(_row(found), "baseline")) == 2
    for arm in ("nccl", "default", "nccl-symmetric", "again"):
        assert _checks(_row(found, arm), "baseline") == {}


def _with_repeat(repeat: dict[int, float], factor: float) -> Judgement:
    """The arm `again` repeats the reference; `repeat` are factors on its launches, by block."""
    plan = make_plan_for_test(
        arms=("nccl", "again", "mixed-comm"), dps=(2,), launches=4, gates=ITL, repeating=("again",)
    )
    made = make_run(plan, speed=lambda arm, dp, m: factor if arm == "mixed-comm" else 1.0)
    for cell in made.cells("again", 2, "latency"):
        record = made.records[cell]
        own = record.metrics["median_itl_ms"] * repeat.get(record.block, 1.0)
        made.change(cell, metrics={**record.metrics, "median_itl_ms": own})
    return _judge(made)


def test_the_noise_floor_is_what_equal_arms_may_show() -> None:
    found = _with_repeat({0: 1.03, 1: 0.97, 2: 1.02, 3: 0.98}, 0.9)
    (floor,) = (one for one in found.noise if one.metric == "median_itl_ms")
    assert (floor.arm, floor.launches) == ("again", 4)
    # Log differences of about +-0.03 and +-0.02: their standard deviation over two is 0.0147, and
    # Student's 95 % quantile with three degrees of freedom is 2.353.
    assert floor.floor == pytest.approx(0.0147 * 2.353, rel=0.1)


@pytest.mark.parametrize(
    ("repeat", "verdict"),
    [
        ({}, Verdict.IMPROVED),
        ({0: 1.03, 1: 0.97, 2: 1.02, 3: 0.98}, Verdict.IMPROVED),  # the floor is 3.5 %
        ({0: 1.2, 1: 0.8, 2: 1.2, 3: 0.8}, Verdict.PASS),  # and here 30 %
    ],
)
def test_no_gain_is_claimed_below_the_noise_floor(
    repeat: dict[int, float], verdict: Verdict
) -> None:
    row = _row(_with_repeat(repeat, 0.9))
    assert row.verdict is verdict
    if verdict is Verdict.PASS:
        assert "may be noise" in row.reasons[1]


def test_without_an_arm_that_repeats_the_reference_there_is_no_floor() -> None:
    assert _judged({}).noise == []


def test_a_gated_ratio_has_a_second_opinion_of_its_runs() -> None:
    plan = make_plan_for_test(dps=(2,), launches=4, gates=ITL)
    made = make_run(plan)
    for cell, record in list(made.records.items()):
        if record.job == "latency":
            value = record.metrics["median_itl_ms"]
            runs = [{"median_itl_ms": value * factor} for factor in (9.0, 0.99, 1.0, 1.01)]
            made.change(cell, runs=runs, details={"dropped_runs": 1})
    (check,) = _checks(_row(_judge(made)), "reference").values()
    assert check.bootstrap is not None
    assert check.estimate is not None
    # The first run, nine times as slow, was dropped by rule and is no part of it.
    assert 0.98 < check.bootstrap[0] < check.estimate < check.bootstrap[1] < 1.02
