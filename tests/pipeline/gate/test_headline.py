"""What an experiment's traces were taken for and did not give is in the headline."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.gate import Judgement, Verdict, judge
from pipeline.records.record import Status
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

JOBS = {
    "gsm8k": {"kind": "accuracy", "launches": 1},
    "kernels": {"kind": "comm-kernels", "launches": 1},
}
GATES = {"gsm8k": {"score": {"margin": 0.05}}}
WHY = "a decode step's sequence AGRA is none that is known"


def run(device: str = "cuda", **changes: Any) -> MadeRun:
    """With the records of one traced launch changed."""
    made = make_run(make_plan_for_test(jobs=JOBS, gates=GATES, device=device), questions=400)
    cell = next(cell for cell, record in made.records.items() if record.kind == "comm-kernels")
    made.records[cell] = made.records[cell].model_copy(update=changes)
    return made


def judged(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, made.facts)


def test_a_refused_time_is_told_and_changes_no_verdict() -> None:
    found = judged(run(details={"times": {"refused": WHY}}))
    traced = sum(record.kind == "comm-kernels" for record in run().records.values())
    assert found.verdict is Verdict.PASS
    assert found.reason.endswith(
        f"rows pass; no communication time without imbalance from 1 of {traced} traced launches: "
        f"{WHY}"
    )


def test_a_trace_that_cannot_be_read_is_told_with_its_reason() -> None:
    why = "3 different CUDA graphs are replayed in no cycle that repeats"
    found = judged(run(status=Status.INVALID, failure_class="trace", reason=why))
    assert found.verdict is Verdict.MISSING
    assert why in found.reason


def test_a_long_reason_is_cut_at_a_word() -> None:
    found = judged(run(details={"times": {"refused": "word " * 90}}))
    assert found.reason.endswith("word word ...")
    assert len(found.reason) < 300


@pytest.mark.parametrize(
    ("device", "changes"),
    [
        ("cuda", {"details": {"times": {"refused": ""}}}),
        ("cuda", {"status": Status.UNSUPPORTED, "reason": "no such GPU here"}),
        ("cpu", {"details": {"times": {"refused": "traced on a CPU"}}}),
    ],
)
def test_nothing_is_said_where_nothing_was_to_be_had(device: str, changes: dict[str, Any]) -> None:
    assert "communication time" not in judged(run(device, **changes)).reason
