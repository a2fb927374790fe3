"""An overloaded host makes a latency cell on GPUs invalid, is told of every other, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from evals.job import Outcome
from evals.latency.client_load import BUSY_HOST, LOAD_CLASSES
from launchers.machine.host_load import HostLoad
from pipeline.gate import judge
from pipeline.gate.host_rule import with_host
from pipeline.plan.model import Plan
from tests.pipeline.builders import make_plan_for_test, make_run

BUSY: dict[str, Any] = {
    "usable_cores": 16, "host_cores": 64, "load_before": 20.0, "load_after": 80.0,
    "load_max": 90.5, "pressure": 0.75, "pressure_max": 0.99,
}  # fmt: skip


def judged(plan: Plan, job: str = "latency", status: Any = "ok", **changes: Any) -> Outcome:
    cell = next(cell for cell in plan.launches[0].cells if cell.job == job)
    outcome = Outcome(status=status, failure_class="" if status == "ok" else "errors")
    return with_host(plan, cell, outcome, HostLoad.model_validate(BUSY | changes))


def test_more_tasks_than_cores_that_wait_most_of_the_time() -> None:
    outcome = judged(make_plan_for_test(engine="sglang", device="cuda"))
    assert (outcome.status, outcome.failure_class) == ("invalid", BUSY_HOST)
    assert outcome.failure_class in LOAD_CLASSES
    assert "waited for a core in 75% of the job's time" in outcome.reason
    assert "load average of 90.5 on 64 cores" in outcome.reason
    assert outcome.details["host"]["load_before"] == 20.0


@pytest.mark.parametrize(
    "changes", [{"pressure": 0.5}, {"pressure": None}, {"load_max": 64.0}], ids=str
)
def test_one_of_them_alone_is_told_only(changes: dict[str, Any]) -> None:
    outcome = judged(make_plan_for_test(engine="sglang", device="cuda"), **changes)
    assert outcome.status == "ok"
    assert outcome.details["host"]["host_cores"] == 64


def test_without_gpus_and_for_answers_it_is_told_only() -> None:
    assert judged(make_plan_for_test(engine="sglang", device="cpu")).status == "ok"
    assert judged(make_plan_for_test(engine="fake", device="cpu")).status == "ok"
    assert judged(make_plan_for_test(engine="sglang", device="cuda"), job="gsm8k").status == "ok"


def test_a_busy_host_is_a_note_of_its_row() -> None:
    made = make_run(make_plan_for_test(dps=(2,)))
    first, second, _ = made.cells("mixed-comm", 2, "latency")
    made.change(first, details={"host": BUSY})
    made.change(second, details={"host": BUSY | {"pressure": 0.2}})
    rows = judge(made.plan, made.records.values(), made.read, made.facts).rows
    notes = {row.arm: [note for note in row.notes if "busy host" in note] for row in rows}
    told = (
        "busy host: in 1 of 2 latency cells some task waited for a core more than 50% of the time, "
        "at most 75% with a load average of 90.5 on 64 cores"
    )
    assert notes == {"nccl": [], "mixed-comm": [told]}


def test_another_fault_stays_what_it_is() -> None:
    outcome = judged(make_plan_for_test(engine="sglang", device="cuda"), status="invalid")
    assert outcome.failure_class == "errors"
