"""A slow launch of the arm alone: told in the headline, bought for, and never a pass."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import pytest

from pipeline.gate import Judgement, Verdict, judge
from pipeline.gate.extra_launches import needed
from pipeline.plan.model import LayoutKey
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"
DP4 = LayoutKey(tp=8, attention_dp=4, ep=1, nodes=1)
JOBS = {"latency": {"kind": "latency", "input_len": 512, "output_len": 64, "concurrency": 4}}


def run_of(
    launches: int, changes: dict[str, list[float]], metric: str = "median_itl_ms", **plan: Any
) -> MadeRun:
    """A run with a change of the log of the metric for each launch of the arms that are named."""
    gates = {"latency": {metric: {"margin": 0.03}}}
    made = make_run(
        make_plan_for_test(
            arms=("nccl", ARM), dps=(4,), launches=launches, gates=gates, jobs=JOBS, **plan
        )
    )
    blocks = max(map(len, changes.values()))
    for cell, record in list(made.records.items()):
        if record.block >= blocks:
            del made.records[cell]
            continue
        change = changes.get(record.arm, [0.0] * blocks)[record.block]
        made.change(cell, metrics={metric: 20 * exp(change)})
    return made


def judged(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, {})


def wants(made: MadeRun, block: int) -> bool:
    return (DP4, ARM) in needed(made.plan, list(made.records.values()), {}, block)


ONE_OF_TEN = [0.0] * 6 + [0.06] + [0.0] * 3


def test_one_slow_launch_of_ten_is_no_pass_though_its_mean_is() -> None:
    found = judged(run_of(10, {ARM: ONE_OF_TEN}))
    assert found.verdict is Verdict.INCONCLUSIVE
    row = next(row for row in found.rows if row.arm == ARM)
    assert "1 of 10 launches worse than all others of both arms by more than 3 %" in row.reasons[0]
    assert "20, 20, 20, 20, 20, 20, 21.24, 20, 20, 20 ms" in row.reasons[0]
    assert f"launches of {ARM} on" in found.reason
    assert "differ by more than the margin: latency median ITL 20, 20" in found.reason


def test_lower_throughput_is_the_slow_side() -> None:
    slow = run_of(10, {ARM: [-x for x in ONE_OF_TEN]}, "output_throughput")
    assert judged(slow).verdict is Verdict.INCONCLUSIVE
    fast = run_of(10, {ARM: ONE_OF_TEN}, "output_throughput")
    assert judged(fast).verdict is Verdict.PASS
    assert "differ by more than the margin" in judged(fast).reason


def test_a_mode_of_the_reference_too_is_not_the_arms() -> None:
    made = run_of(10, {ARM: ONE_OF_TEN, "nccl": ONE_OF_TEN[::-1]})
    found = judged(made)
    assert found.verdict is Verdict.PASS
    assert "(and 1 more, see the notes)" in found.reason
    notes = {row.arm: [n for n in row.notes if "differ by more" in n] for row in found.rows}
    assert {arm: len(told) for arm, told in notes.items()} == {"nccl": 1, ARM: 1}


def test_launches_within_the_margin_are_not_told() -> None:
    found = judged(run_of(4, {ARM: [0.0, 0.01, 0.005, 0.0]}))
    assert found.verdict is Verdict.PASS
    assert "differ by more" not in found.reason
    assert not any("differ by more" in note for row in found.rows for note in row.notes)


def test_many_launches_are_told_as_a_range() -> None:
    assert (
        "12 launches from 20 to 21.24 ms" in judged(run_of(12, {ARM: [*ONE_OF_TEN, 0, 0]})).reason
    )


def test_a_slow_launch_buys_to_the_cap_and_what_was_bought_never_passes() -> None:
    # Seen among the planned launches; the reference shows the like in the last block that it buys.
    planned = [0.0, 0.045, 0.0]
    made = run_of(3, {ARM: [*planned, *[0.0] * 7], "nccl": [*[0.0] * 9, 0.05]}, most=10)
    assert all(wants(made, block) for block in range(3, 10))
    found = judged(made)
    assert found.verdict is Verdict.INCONCLUSIVE
    row = next(row for row in found.rows if row.arm == ARM)
    assert "1 of 3 launches worse than all others" in row.reasons[0]
    assert "the cap of sequential.max_launches" in row.reasons[0]


def test_a_slow_launch_is_a_reason_to_buy_where_the_mean_would_pass() -> None:
    # Six launches of which the mean excludes 3 %; without the last, five pass and buy nothing more.
    quiet = run_of(6, {ARM: [0.0] * 6}, most=9)
    assert not wants(quiet, 6)
    slow = run_of(6, {ARM: [*[0.0] * 5, 0.034]}, most=9)
    assert wants(slow, 6)
    found = judged(slow)
    assert found.verdict is Verdict.MISSING  # the block that is needed has not run


def test_a_mode_that_comes_again_is_a_loss() -> None:
    often = [0.09, 0.0, 0.0, *[0.09] * 9]
    made = run_of(3, {ARM: often}, most=12)
    assert judged(made).verdict is Verdict.REGRESSED


@pytest.mark.parametrize("share", [3, 10])
def test_a_mode_that_no_launch_met_passes_as_the_plan_says(share: int) -> None:
    rng = np.random.default_rng(share)
    passed = 0
    for _ in range(60):
        slow = rng.random(3) < 1 / share
        passed += judged(run_of(3, {ARM: [0.1 * one for one in slow]})).verdict is Verdict.PASS
    assert passed / 60 == pytest.approx((1 - 1 / share) ** 3, abs=0.2)
