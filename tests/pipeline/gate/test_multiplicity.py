"""One verdict from accuracy, speed, communication time and premises: every combination of them."""

from __future__ import annotations

from itertools import product
from math import exp
from typing import Literal

import pytest

from evals.job import Answer
from pipeline.gate import Judgement, Verdict, judge
from pipeline.plan.model import Plan
from pipeline.premises import KERNELS
from pipeline.records.record import PremiseResult, Record, Status
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"
State = Literal["good", "gain", "bad", "undecided", "missing"]
ACCURACY: tuple[State, ...] = ("good", "bad", "undecided", "missing")
TIMES: tuple[State, ...] = ("good", "gain", "bad", "undecided", "missing")

JOBS = {
    "gsm8k": {"kind": "accuracy", "launches": 1},
    "latency": {"kind": "latency", "input_len": 128, "output_len": 32, "concurrency": 8},
    "kernels": {"kind": "comm-kernels", "launches": 3, "concurrency": 8},
}
GATES = {
    "gsm8k": {"score": {"margin": 0.03}},
    "latency": {"median_itl_ms": {"margin": 0.03}},
    "kernels": {"comm_with_imbalance_ms": {"margin": 0.05}},
}
# Changes of the logarithm in three blocks; undecided: a spread of 5 % over three launches.
CHANGES = {
    "good": (0.001, -0.001, 0.0), "gain": (-0.2, -0.201, -0.199), "bad": (0.2, 0.201, 0.199),
    "undecided": (0.05, -0.05, 0.0), "missing": (0.0, 0.0, 0.0),
}  # fmt: skip
# Questions of 400 that the arm loses; 5 of 400 is neither nothing nor a drop of 3 points for sure.
LOST = {"good": 0, "bad": 60, "undecided": 10, "missing": 0}


def expected(accuracy: State, speed: State, comm: State, premises: State) -> Verdict:
    """The table, said independently of the code: the first line that holds."""
    if premises == "bad":
        return Verdict.MISSING  # whatever was measured, it was not the arm
    if "bad" in (accuracy, speed, comm):
        return Verdict.REGRESSED
    if "missing" in (accuracy, speed, comm) or premises != "good":
        return Verdict.MISSING
    if "undecided" in (accuracy, speed, comm):
        return Verdict.INCONCLUSIVE
    return Verdict.IMPROVED if "gain" in (speed, comm) else Verdict.PASS


def _plan() -> Plan:
    plan = make_plan_for_test(dps=(4,), jobs=JOBS, gates=GATES)
    return plan.model_copy(update={"require_proof": True})


PLAN = _plan()
BASE = make_run(PLAN, questions=400)
PROVED = [
    PremiseResult(name="layout", state="proved", detail="as planned"),
    PremiseResult(name=KERNELS, state="proved", detail="as expected"),
]


def changed(record: Record, states: dict[str, State], premises: State) -> Record | None:
    """The record as it is where its job and the arm's premises are in these states."""
    arm = record.arm == ARM
    state = states[record.job] if arm else "good"
    if state == "missing" and record.block == 0:
        return None
    update: dict[str, object] = {"premises": PROVED}
    for metric, usual in (("median_itl_ms", 10.0), ("comm_with_imbalance_ms", 2.0)):
        if metric in record.metrics:
            change = CHANGES[state][record.block] if arm else 0.0
            update["metrics"] = {metric: usual * exp(change)}
    if arm and premises == "bad" and record.job == "latency":
        wrong = PremiseResult(name="layout", state="disproved", detail="attention_dp is 1")
        update |= {"status": Status.INVALID, "failure_class": "premise", "premises": [wrong]}
        update |= {"reason": "the arm does not run what it claims", "metrics": {}}
    elif arm and premises == "undecided":
        update["premises"] = [PROVED[0], PremiseResult(name=KERNELS, state="unproved", detail="?")]
    elif arm and premises == "missing":
        update["premises"] = []
    return record.model_copy(update=update)


def judged(accuracy: State, speed: State, comm: State, premises: State) -> Judgement:
    states: dict[str, State] = {"gsm8k": accuracy, "latency": speed, "kernels": comm}
    found = [changed(record, states, premises) for record in BASE.records.values()]

    def answers(record: Record) -> list[Answer]:
        lost = LOST[accuracy] if record.arm == ARM else 0
        right = [one for one in BASE.answers[record.cell] if one.mark == "correct"]
        wrong = {one.id for one in right[:lost]}
        return [
            one.model_copy(update={"mark": "wrong"}) if one.id in wrong else one
            for one in BASE.answers[record.cell]
        ]

    return judge(PLAN, [record for record in found if record is not None], answers, {})


@pytest.mark.parametrize("accuracy", ACCURACY)
@pytest.mark.parametrize("premises", ["good", "bad", "undecided", "missing"])
def test_every_combination_has_the_verdict_of_the_table(accuracy: State, premises: State) -> None:
    wrong: list[tuple[object, ...]] = []
    for speed, comm in product(TIMES, TIMES):
        row = next(r for r in judged(accuracy, speed, comm, premises).rows if r.arm == ARM)
        wanted = expected(accuracy, speed, comm, premises)
        if row.verdict is not wanted or (wanted is not Verdict.PASS and not row.reasons):
            wrong.append((speed, comm, row.verdict, wanted, row.reasons))
        for check in row.checks:
            state = {"latency": speed, "kernels": comm}.get(check.job)
            if check.gated and state == "gain" and premises != "bad":
                counted = check.verdict is Verdict.IMPROVED
                told = check.reason.startswith("gain not counted, accuracy is not proved")
                if counted is not (accuracy == "good") or told is not (accuracy != "good"):
                    wrong.append((speed, comm, check.verdict, "a gain", [check.reason]))
    assert wrong == []


def test_what_could_not_be_decided_says_what_it_would_take() -> None:
    row = next(
        r for r in judged("undecided", "undecided", "undecided", "good").rows if r.arm == ARM
    )
    assert row.verdict is Verdict.INCONCLUSIVE
    assert [reason.split(":")[0] for reason in row.reasons] == [
        "gsm8k score", "latency median ITL", "kernels communication",
    ]  # fmt: skip
    assert "questions, or more repeats of each, would pass" in row.reasons[0]
    for reason in row.reasons[1:]:
        assert "launches an arm would pass an equal arm" in reason


def test_communication_time_is_in_the_family_of_speed() -> None:
    seen = judged("good", "bad", "bad", "good")
    assert seen.alarms == {"accuracy": 1, "speed": 2}
    gated = [c for row in seen.rows for c in row.checks if c.gated and c.measure == "ratio"]
    for check in gated:
        assert check.p_worse is not None
        assert check.p_worse_adjusted is not None
        assert check.p_worse_adjusted > check.p_worse


def test_one_launch_of_traces_decides_nothing() -> None:
    plan = make_plan_for_test(
        dps=(4,), jobs={**JOBS, "kernels": {"kind": "comm-kernels"}}, gates=GATES
    )
    made = make_run(plan)
    row = next(r for r in _judge(made).rows if r.arm == ARM)
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "one launch an arm" in row.reasons[0]


def _judge(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, {})


@pytest.mark.parametrize(("gates", "verdict", "told"), [
    ({"latency": GATES["latency"]}, Verdict.PASS, "no gate asks for accuracy"),
    ({"latency": GATES["latency"], "gsm8k": {"error_rate": {"margin": 0.03}}}, Verdict.PASS,
     "no gate asks for accuracy"),
    ({"latency": GATES["latency"], "gsm8k": GATES["gsm8k"]}, Verdict.IMPROVED, "better by more"),
])  # fmt: skip
def test_a_gain_without_any_gate_on_accuracy_is_not_counted(
    gates: dict[str, dict[str, object]], verdict: Verdict, told: str
) -> None:
    plan = make_plan_for_test(dps=(4,), gates=gates)
    made = make_run(plan, speed=lambda arm, _dp, _metric: 0.8 if arm == ARM else 1.0)
    row = next(r for r in _judge(made).rows if r.arm == ARM)
    assert row.verdict is verdict
    check = next(c for c in row.checks if c.gated and c.measure == "ratio")
    assert told in check.reason
