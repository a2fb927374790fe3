"""Answers of a broken-off attempt, kept where the arm is known to have run what it claims."""

from __future__ import annotations

from evals.accuracy.resume import carry_over
from launchers.server.failures import FailureClass
from pipeline.plan.model import Cell, Launch, Plan
from pipeline.premises import Claims, Evidence, served_path
from pipeline.premises.log_patterns import SIGNS
from pipeline.records.folder import RunFolder
from pipeline.records.record import Record

__all__ = ["take_over"]


def take_over(plan: Plan, launch: Launch, cell: Cell, folder: RunFolder, attempt: int) -> None:
    """Copy the usable answers of the attempt before this one into the cell's new folder.

    Nothing was measured before the start of that attempt had been checked. What only shows once it
    has served, the path that its communication took, is looked up in the files that it left.

    Args:
        plan: The run's plan.
        launch: The launch.
        cell: One that has no record that counts.
        folder: The run.
        attempt: The number of the attempt that begins.
    """
    place = folder.launch(launch.id)
    earlier = place.earlier(attempt)
    if earlier is None:
        return
    record = earlier.cell(cell.job).load()
    if record is not None and _not_of_the_arm(record):
        return
    evidence = Evidence(
        server_info={},
        environ={},
        witnesses=earlier.witnesses(),
        signs=earlier.log_signs(SIGNS),
    )
    path = served_path(Claims.of(plan, launch), evidence)
    if path.state == "disproved":
        folder.add_event("answers_left", cell=cell.id, attempt=attempt - 1, why=path.detail)
        return
    new = place.cell(cell.job).root
    new.mkdir(parents=True, exist_ok=True)
    if kept := carry_over(earlier.cell(cell.job).root, new):
        folder.add_event("answers_carried", cell=cell.id, attempt=attempt - 1, answers=kept)


def _not_of_the_arm(record: Record) -> bool:
    """Whether the server was not what the plan says, or another may have answered in its place.

    A port that was lost before the server was ready spoils nothing: nothing was asked.
    """
    served = record.details.get("server_ready_s") is not None
    return record.failure_class == "premise" or (
        record.failure_class == FailureClass.PORT and served
    )
