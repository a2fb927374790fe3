"""What is asked, found and missing of each arm's proof, and what a gate makes of it."""

from __future__ import annotations

import pytest

from pipeline.gate import Judgement, Row, Verdict, judge
from pipeline.records.record import PremiseResult, State, Status
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"


def premise(name: str, state: State) -> PremiseResult:
    return PremiseResult(name=name, state=state, detail=f"{name} is {state}")


def made(*, require_proof: bool = False) -> MadeRun:
    plan = make_plan_for_test(dps=(2,))
    return make_run(plan.model_copy(update={"require_proof": require_proof}))


def give(run: MadeRun, arm: str, *premises: PremiseResult, launch: int = 0) -> None:
    """Give the latency record of one of the arm's launches more premises."""
    cell = run.cells(arm, 2, "latency")[launch]
    run.change(cell, premises=[*run.records[cell].premises, *premises])


def judged(run: MadeRun) -> Judgement:
    return judge(run.plan, run.records.values(), run.read, {})


def row(found: Judgement, arm: str) -> Row:
    [one] = [one for one in found.rows if one.arm == arm]
    return one


def test_kernels_are_asked_of_every_arm_and_missing_without_a_trace() -> None:
    found = judged(made())
    for arm in ("nccl", ARM):
        proof = row(found, arm).proof
        assert (proof.asked, proof.found, proof.missing) == (
            ["decode kernels", "layout"], ["layout"], ["decode kernels"],
        )  # fmt: skip
    assert found.verdict is Verdict.PASS


def test_missing_proof_passes_no_gate_that_asks_for_it() -> None:
    found = judged(made(require_proof=True))
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    assert "proof is required, and missing for: decode kernels" in row(found, ARM).reasons


def test_with_all_proofs_found_it_passes() -> None:
    run = made(require_proof=True)
    for arm in ("nccl", ARM):
        give(run, arm, premise("decode kernels", "proved"), launch=1)
    found = judged(run)
    assert (found.verdict, row(found, ARM).proof.missing) == (Verdict.PASS, [])


def test_the_worst_finding_of_a_proof_counts() -> None:
    run = made(require_proof=True)
    for arm in ("nccl", ARM):
        give(run, arm, premise("decode kernels", "proved"))
    give(run, ARM, premise("environment", "proved"))
    give(run, ARM, premise("environment", "unproved"), launch=1)
    found = judged(run)
    assert row(found, ARM).proof.missing == ["environment"]
    assert row(found, ARM).verdict is Verdict.MISSING
    assert row(found, "nccl").verdict is Verdict.PASS


@pytest.mark.parametrize("invalid", ["nccl", ARM])
def test_an_invalid_launch_makes_all_of_its_arm_invalid(invalid: str) -> None:
    """Also what other launches and jobs of it measured, be it a loss or a gain."""
    run = make_run(
        make_plan_for_test(dps=(2,)), speed=lambda arm, dp, metric: 1.3 if arm == ARM else 1.0
    )
    cell = run.cells(invalid, 2, "latency")[2]
    run.change(
        cell, status=Status.INVALID, failure_class="premise", reason="it did not run", metrics={}
    )
    found = judged(run)
    checks = [check for check in row(found, ARM).checks if check.gated]
    assert {check.verdict for check in checks} == {Verdict.MISSING}
    who = "the arm" if invalid == ARM else "the reference"
    assert checks[0].reason == f"{who} is invalid: {cell}: it did not run"
    assert found.verdict is Verdict.MISSING


def test_an_invalid_record_for_another_reason_leaves_other_jobs_alone() -> None:
    run = made()
    cell = run.cells(ARM, 2, "latency")[2]
    run.change(cell, status=Status.INVALID, failure_class="errors", reason="2 failed", metrics={})
    by_job = {check.job: check for check in row(judged(run), ARM).checks if check.gated}
    assert by_job["gsm8k"].verdict is Verdict.PASS
    assert by_job["latency"].verdict is Verdict.MISSING


def test_a_layout_without_fusion_is_labelled() -> None:
    plan = make_plan_for_test(dps=(2, 8))
    arms = [
        arm.model_copy(update={"plugins": ["servegate_mixed_comm"]}) if arm.name == ARM else arm
        for arm in plan.arms
    ]
    found = judged(make_run(plan.model_copy(update={"arms": arms})))
    notes = {(one.arm, one.layout.attention_dp): one.notes for one in found.rows}
    assert notes[ARM, 8] == ["no fusion: attention TP is 1, so MixedComm gathers and scatters only"]
    assert notes[ARM, 2] == notes["nccl", 8] == []
