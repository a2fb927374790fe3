"""Turns what became of a cell into its record, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from evals.job import Outcome
from launchers.server.process import log_tail
from pipeline.plan.model import Cell, Launch
from pipeline.premises import disproved
from pipeline.records.finite import not_finite
from pipeline.records.folder import LaunchFolder, RunFolder
from pipeline.records.record import PremiseResult, Record, Status
from pipeline.run.progress import Display

__all__ = ["Recorder", "finite", "first_line", "now", "standing"]

_LOG_LINES = 40


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def first_line(error: Exception) -> str:
    """Without command and log, which the launch's note and the record's own tail hold."""
    return str(error).splitlines()[0]


def finite(outcome: Outcome) -> Outcome:
    """The outcome, or an invalid one without its numbers where one of them is not finite."""
    numbers = {"metrics": outcome.metrics, "runs": outcome.runs, "details": outcome.details}
    wrong = next(not_finite(numbers), None)
    if wrong is None:
        return outcome
    return Outcome(
        status="invalid",
        failure_class="not-finite",
        reason=f"{wrong}, which is no measured number",
        artifacts=outcome.artifacts,
    )


def standing(outcome: Outcome, premises: Sequence[PremiseResult]) -> tuple[Status, str, str]:
    """Status, class and reason of a job that ended by itself."""
    if outcome.status != "ok":
        return Status(outcome.status), outcome.failure_class, outcome.reason
    if wrong := disproved(premises):
        return Status.INVALID, "premise", f"the arm did not run what it claims: {wrong}"
    return Status.OK, "", ""


class Recorder:
    """Writes the records of one start of one launch."""

    def __init__(
        self, launch: Launch, attempt: int, place: LaunchFolder, folder: RunFolder, shown: Display
    ) -> None:
        self._launch = launch
        self._attempt = attempt
        self._place = place
        self._folder = folder
        self._shown = shown

    def record_all(
        self,
        cells: Sequence[Cell],
        status: Status,
        failure: str,
        reason: str,
        premises: Sequence[PremiseResult] = (),
    ) -> None:
        """Give each of the cells the same record; those that have one keep it."""
        for cell in cells:
            place = self._place.cell(cell.job)
            if place.record.exists():
                continue
            place.root.mkdir(parents=True, exist_ok=True)
            self.keep(
                cell,
                status,
                failure,
                reason,
                log=self._place.server_log,
                outcome=Outcome(status="failed"),
                premises=premises,
                started_at=now(),
                seconds=0.0,
                ready_s=None,
            )

    def keep(  # noqa: PLR0913 - the fields of a record
        self,
        cell: Cell,
        status: Status,
        failure: str,
        reason: str,
        *,
        log: Path,
        outcome: Outcome,
        premises: Sequence[PremiseResult],
        started_at: str,
        seconds: float,
        ready_s: float | None,
    ) -> None:
        """Write the record of one cell, note the event, and show it.

        Raises:
            pipeline.records.record.RecordError: The cell has a record already.
        """
        told = status in (Status.FAILED, Status.INVALID)
        launch = self._launch
        record = Record(
            cell=cell.id,
            launch=launch.id,
            attempt=self._attempt,
            arm=launch.arm,
            layout=launch.layout,
            block=launch.block,
            job=cell.job,
            kind=cell.kind,
            status=status,
            failure_class=failure,
            reason=reason,
            log_tail=log_tail(log, _LOG_LINES) if told else [],
            started_at=started_at,
            ended_at=now(),
            seconds=round(seconds, 3),
            settings=cell.settings,
            metrics=outcome.metrics,
            counts=outcome.counts,
            runs=outcome.runs,
            details={**outcome.details, "server_ready_s": ready_s},
            artifacts=outcome.artifacts,
            premises=list(premises),
        )
        self._place.cell(cell.job).write(record)
        self._folder.add_event("cell_finished", cell=cell.id, status=status.value)
        self._shown.record(record)
