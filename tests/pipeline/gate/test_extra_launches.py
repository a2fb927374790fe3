"""Buying launches: what the looks allow, which blocks are needed, and what is never missing."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.experiment.load import SpecError, load_experiment
from pipeline.gate import Judgement, Verdict, judge
from pipeline.gate.extra_launches import design_of, needed, unneeded
from pipeline.plan.model import LayoutKey, Plan
from pipeline.plan.text import plan_lines
from pipeline.power.impossible import impossible_gates
from pipeline.records.record import Status
from pipeline.report.build import write
from pipeline.stats import launch_design
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run
from tests.pipeline.gate.test_comparable import facts_of

ARM = "mixed-comm"
JOBS = {"latency": {"kind": "latency", "input_len": 128, "output_len": 32, "concurrency": 8}}
GATES = {"latency": {"median_itl_ms": {"margin": 0.03}}}
DP4 = LayoutKey(tp=8, attention_dp=4, ep=1, nodes=1)


def plan_of(arms: tuple[str, ...] = ("nccl", ARM), most: int | None = 6, **changes: Any) -> Plan:
    told: dict[str, Any] = {"dps": (4,), "launches": 3, "gates": GATES, "jobs": JOBS} | changes
    return make_plan_for_test(arms=arms, most=most, **told)


def run_of(plan: Plan, blocks: int, changes: dict[str, list[float]]) -> MadeRun:
    """A run of so many blocks; each arm's change of log ITL, block by block; 0 if none is given."""
    made = make_run(plan)
    launches = {launch.id: launch for launch in plan.launches}
    for cell, record in list(made.records.items()):
        at = changes.get(record.arm, [0.0] * blocks)
        if launches[record.launch].block >= min(blocks, len(at)):
            del made.records[cell]
        else:
            made.change(cell, metrics={"median_itl_ms": 10 * exp(at[record.block])})
    return made


def judged(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, {})


def row_of(made: MadeRun, arm: str = ARM) -> tuple[Verdict, str]:
    row = next(row for row in judged(made).rows if row.arm == arm)
    return row.verdict, row.reasons[0] if row.reasons else ""


QUIET = [0.001, -0.001, 0.0005, 0.0, -0.0005, 0.001]
# Mean 0.01, spread 0.02: neither is a loss of 3 % excluded after 3, 4 or 5 blocks, nor seen.
LOUD = [0.03, 0.01, -0.01, 0.03, -0.01, 0.01]
SLOW = [0.10, 0.101, 0.099, 0.1, 0.1, 0.1]


def test_levels_rise_and_are_stricter_than_a_single_look() -> None:
    design = launch_design(3, 6, 0.05, alarms=3)
    assert design.sizes == (3, 4, 5, 6)
    assert all(level < 0.05 for level in design.pass_levels)
    assert all(level < 0.05 / 3 for level in design.harm_levels)
    # The first look spends 0.05 * 3 / 6, less what t needs.
    assert 0.02 < design.pass_levels[0] <= 0.025
    assert [design.look(n) for n in (1, 3, 6)] == [0, 0, 3]
    assert launch_design(1, 4, 0.05).sizes == (2, 3, 4)
    assert launch_design(4, 4, 0.05).pass_levels == pytest.approx((0.05,), abs=0.002)
    with pytest.raises(ValueError, match="ends with 6 launches, not 7"):
        design.look(7)


@pytest.mark.parametrize(("first", "most", "alpha", "alarms"), [
    (4, 3, 0.05, 1), (1, 1, 0.05, 1), (0, 3, 0.05, 1), (2, 3, 0.6, 1), (2, 3, 0.05, 0),
])  # fmt: skip
def test_a_design_that_cannot_be_is_refused(
    first: int, most: int, alpha: float, alarms: int
) -> None:
    with pytest.raises(ValueError, match="a design of launches needs"):
        launch_design(first, most, alpha, alarms=alarms)


def test_the_error_rate_holds_over_all_looks() -> None:
    from scipy.stats import ttest_1samp

    design = launch_design(3, 8, 0.05)
    drawn = np.random.default_rng(7).normal(size=(20_000, 8))
    crossed = np.zeros(20_000, dtype=bool)
    for size, level in zip(design.sizes, design.harm_levels, strict=True):
        p = ttest_1samp(drawn[:, :size], 0, axis=1, alternative="greater").pvalue
        crossed |= p < level
    # 0.05 and three standard errors; without the factor it would be 0.055.
    assert 0.04 < crossed.mean() <= 0.05 + 3 * (0.05 * 0.95 / 20_000) ** 0.5


def test_the_plan_holds_all_blocks_and_marks_those_that_may_be_bought() -> None:
    jobs = {
        "gsm8k": {"kind": "accuracy", "launches": 1}, "free": {**JOBS["latency"]}, **JOBS,
        "kernels": {"kind": "comm-kernels"},
    }  # fmt: skip
    plan = plan_of(jobs=jobs)
    optional = [launch for launch in plan.launches if launch.optional]
    assert {launch.block for launch in optional} == {3, 4, 5}
    assert len(optional) == 3 * 2
    # Only what a gate needs is run on them, and traces stay behind everything.
    assert {cell.job for launch in optional for cell in launch.cells} == {"latency"}
    assert [cell.job for cell in plan.launches[-1].cells] == ["kernels"]
    assert not plan.launches[-1].optional
    text = "\n".join(plan_lines(plan))
    assert "cost: 8 server launches" in text
    assert "up to 6 more launches while a gated speed is undecided" in text
    assert not any(launch.optional for launch in plan_of(most=None).launches)


@pytest.mark.parametrize(("change", "verdict"), [
    (QUIET, Verdict.PASS), (SLOW, Verdict.REGRESSED), (LOUD, Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_what_is_decided_buys_nothing_and_what_is_not_does(
    change: list[float], verdict: Verdict
) -> None:
    made = run_of(plan_of(), 3, {ARM: change})
    wanted = needed(made.plan, list(made.records.values()), {}, 3)
    left_out = unneeded(made.plan, list(made.records.values()), {})
    if verdict is Verdict.INCONCLUSIVE:
        assert wanted == {(DP4, ARM), (DP4, "nccl")}
        # The fourth block is needed and not there: missing, whatever was seen so far.
        assert {launch.block for launch in left_out} == {4, 5}
        assert row_of(made)[0] is Verdict.MISSING
        assert "not run" in row_of(made)[1]
    else:
        assert wanted == frozenset()
        assert {launch.block for launch in left_out} == {3, 4, 5}
        assert row_of(made)[0] is verdict
        took = {(one.arm, one.launches, one.possible) for one in judged(made).bought}
        assert took == {("nccl", 0, 3), (ARM, 0, 3)}


def test_the_cap_ends_it_inconclusive_and_says_what_it_would_take() -> None:
    made = run_of(plan_of(), 6, {ARM: LOUD})
    verdict, reason = row_of(made)
    assert verdict is Verdict.INCONCLUSIVE
    assert "neither excluded nor established with 6 launches an arm" in reason
    assert "the cap of sequential.max_launches" in reason
    assert {(one.arm, one.launches) for one in judged(made).bought} == {("nccl", 3), (ARM, 3)}


def test_blocks_are_bought_until_it_is_decided() -> None:
    change = [0.03, 0.01, -0.01, *[0.0, 0.0, 0.0, 0.0, 0.0]]
    plan = plan_of(most=8)
    made = run_of(plan, 8, {ARM: change})
    records = list(made.records.values())
    blocks = [b for b in range(3, 8) if (DP4, ARM) in needed(plan, records, {}, b)]
    assert blocks == list(range(3, 3 + len(blocks)))
    assert 0 < len(blocks) < 5
    short = run_of(plan, 3 + len(blocks), {ARM: change})
    check = next(c for row in judged(short).rows for c in row.checks if c.gated)
    assert check.verdict is Verdict.PASS
    assert check.n == 3 + len(blocks)
    # Judged at the look's own level: stricter than alpha, and not by Holm.
    assert check.p_worse_adjusted is None
    assert f"look at {check.n} of at most 8 launches" in check.method
    # One block less, and it would have been undecided: the launch that decides is missing then.
    assert row_of(run_of(plan, 2 + len(blocks), {ARM: change}))[0] is Verdict.MISSING


def test_only_the_arm_that_needs_it_buys_and_is_compared_with_what_ran_beside_it() -> None:
    plan = plan_of(arms=("nccl", ARM, "other"))
    made = run_of(plan, 6, {ARM: LOUD, "other": QUIET[:3]})
    for cell, record in list(made.records.items()):
        if record.arm == "nccl" and record.block > 2:  # later blocks are slow in both
            made.change(cell, metrics={"median_itl_ms": 20.0})
        if record.arm == ARM and record.block > 2:
            made.change(cell, metrics={"median_itl_ms": 20.0 * exp(LOUD[record.block])})
    records = list(made.records.values())
    assert needed(plan, records, {}, 3) == {(DP4, ARM), (DP4, "nccl")}
    assert row_of(made, "other")[0] is Verdict.PASS
    check = next(
        c for row in judged(made).rows if row.arm == "other" for c in row.checks if c.gated
    )
    assert check.n == 3
    assert check.reference_value == pytest.approx(10.0)
    assert check.method.startswith("paired t")
    took = {one.arm: one.launches for one in judged(made).bought}
    assert took == {"nccl": 3, ARM: 3, "other": 0}


def test_a_broken_record_is_missing_and_buys_nothing() -> None:
    made = run_of(plan_of(), 3, {ARM: LOUD})
    made.fail(made.cells(ARM, 4, "latency")[0])
    assert needed(made.plan, list(made.records.values()), {}, 3) == frozenset()
    verdict, reason = row_of(made)
    assert verdict is Verdict.MISSING
    assert "failed" in reason


def test_a_bought_launch_that_failed_is_missing() -> None:
    made = run_of(plan_of(), 4, {ARM: LOUD})
    made.fail(made.cells(ARM, 4, "latency")[3], Status.FAILED)
    assert row_of(made)[0] is Verdict.MISSING
    assert {(one.arm, one.launches) for one in judged(made).bought} == {("nccl", 1), (ARM, 1)}


def test_an_experiment_without_a_cap_is_judged_as_before() -> None:
    fixed = judged(run_of(plan_of(most=None), 3, {ARM: LOUD}))
    assert fixed.bought == []
    assert fixed.alarms["speed"] == 1
    check = next(c for row in fixed.rows for c in row.checks if c.gated)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert check.p_worse_adjusted is not None
    assert "look at" not in check.method


def test_one_planned_launch_buys_the_second() -> None:
    plan = plan_of(launches=1, most=3)
    made = run_of(plan, 1, {ARM: QUIET})
    assert (DP4, ARM) in needed(plan, list(made.records.values()), {}, 1)
    assert row_of(run_of(plan, 3, {ARM: QUIET}))[0] is Verdict.PASS


def test_gates_share_alpha_over_all_comparisons() -> None:
    one, several = design_of(plan_of()), design_of(plan_of(arms=("nccl", ARM, "other"), dps=(2, 4)))
    assert one is not None
    assert several is not None
    assert several.pass_levels == one.pass_levels
    assert several.harm_levels[0] == pytest.approx(one.harm_levels[0] / 4, rel=0.1)


def test_the_report_says_how_many_were_bought(tmp_path: Path) -> None:
    folder = run_of(plan_of(), 6, {ARM: LOUD}).write(tmp_path)
    write(folder)
    for path in (folder.report_md, folder.report_html):
        text = path.read_text(encoding="utf-8")
        assert "undecided: 6 of the 6 that" in text
        assert "06-nccl-dp4 (optional)" in text or "07-nccl-dp4 (optional)" in text
    assert json.loads(folder.report_json.read_text(encoding="utf-8"))["bought"][0]["launches"] == 3
    quiet = run_of(plan_of(), 3, {ARM: QUIET}).write(tmp_path / "quiet")
    write(quiet)
    assert "undecided: 0 of the 6 that" in quiet.report_md.read_text(encoding="utf-8")


SPEC = """
name: made-up
model: {path: org/model}
layouts: [{tp: 8, attention_dp: [2]}]
arms: {nccl: {}, other: {}}
reference: nccl
launches: 3
sequential: {max_launches: MOST}
jobs:
  latency: {kind: latency, input_len: 128, output_len: 32, concurrency: 8LIMIT}
gates: {latency: {median_itl_ms: {margin: 0.03}}}
"""


@pytest.mark.parametrize(("most", "limit", "said"), [
    ("3", "", "sequential.max_launches: 3 leaves nothing to buy"),
    ("6", ", launches: 2", "no latency job that runs on every launch has a gate"),
    ("6", "", ""),
])  # fmt: skip
def test_what_can_never_buy_is_refused(tmp_path: Path, most: str, limit: str, said: str) -> None:
    file = tmp_path / "made-up.yaml"
    file.write_text(SPEC.replace("MOST", most).replace("LIMIT", limit), encoding="utf-8")
    if not said:
        assert load_experiment(file).sequential is not None
        return
    with pytest.raises(SpecError, match=said):
        load_experiment(file)


COMM = """
name: made-up
model: {path: org/model}
layouts: [{tp: 8, attention_dp: [2]}]
arms: {nccl: {}, other: {}}
reference: nccl
launches: 3
jobs: {kernels: {kind: comm-kernels, launches: COUNT}}
gates: {kernels: {METRIC: {margin: 0.05}}}
"""


@pytest.mark.parametrize(("metric", "count", "problem", "impossible"), [
    ("comm_with_imbalance_ms", "3", "", ""),
    ("comm_span_ms", "1", "", "gates.kernels.comm_span_ms: can never pass or fire: one launch"),
    ("other_kernels_ms", "3", "gates.kernels.other_kernels_ms: cannot be gated", ""),
])  # fmt: skip
def test_communication_time_is_gated_over_its_own_launches(
    tmp_path: Path, metric: str, count: str, problem: str, impossible: str
) -> None:
    file = tmp_path / "made-up.yaml"
    file.write_text(COMM.replace("METRIC", metric).replace("COUNT", count), encoding="utf-8")
    if problem:
        with pytest.raises(SpecError, match=problem):
            load_experiment(file)
        return
    found = impossible_gates(load_experiment(file))
    assert [text.startswith(impossible) for text in found] == ([True] if impossible else [])


@pytest.mark.parametrize(("most", "problems"), [("3", 0), ("null", 1)])
def test_one_launch_is_enough_where_more_may_be_bought(
    tmp_path: Path, most: str, problems: int
) -> None:
    text = SPEC.replace("LIMIT", "").replace("launches: 3", "launches: 1")
    text = text.replace("{max_launches: MOST}", "null" if most == "null" else "{max_launches: 3}")
    file = tmp_path / "made-up.yaml"
    file.write_text(text, encoding="utf-8")
    assert len(impossible_gates(load_experiment(file))) == problems


def test_arms_that_may_not_be_compared_buy_nothing() -> None:
    made = run_of(plan_of(), 3, {ARM: LOUD})
    records = list(made.records.values())
    alike = {one.id: facts_of(one.arm) for one in made.plan.launches if one.block < 3}
    assert (DP4, ARM) in needed(made.plan, records, alike, 3)
    for arm in (ARM, "nccl"):  # the arm's own, and a reference that differs from itself
        last = [one.id for one in made.plan.launches if one.arm == arm and one.block < 3][-1]
        packages = {**alike[last].packages, "torch": "2.15.0"}
        other = {**alike, last: alike[last].model_copy(update={"packages": packages})}
        assert needed(made.plan, records, other, 3) == frozenset()


def test_a_gated_job_that_no_launch_runs_is_missing_and_buys_nothing() -> None:
    made = run_of(plan_of(), 3, {ARM: LOUD})
    bare = [launch.model_copy(update={"cells": []}) for launch in made.plan.launches]
    plan = made.plan.model_copy(update={"launches": bare})
    assert needed(plan, [], {}, 3) == frozenset()
    assert judge(plan, [], made.read, {}).verdict is Verdict.MISSING
