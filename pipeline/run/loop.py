"""The loop: for each launch a server, for each of its cells a job, for each cell one record."""

from __future__ import annotations

import fcntl
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from launchers.server.failures import FailureClass
from launchers.server.process import stop_orphan
from pipeline.gate.extra_launches import needed
from pipeline.plan.model import Launch, Plan
from pipeline.records.folder import CellFolder, LaunchFolder, RunFolder
from pipeline.records.launch_note import LaunchNote
from pipeline.records.record import RecordError, Status, load
from pipeline.run.launch import LaunchRun
from pipeline.run.progress import Display
from pipeline.run.resume import take_over

__all__ = ["execute"]

# A server draws several ports before it binds them, and another program may be quicker; or it takes
# one of them later.
_STARTS = 2


def execute(plan: Plan, folder: RunFolder, shown: Display) -> None:
    """Run every cell that has no ok record yet.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything started has been stopped, and the cell that
            was running has an ``aborted`` record.
        RecordError: Another process is running this folder.
    """
    with _locked(folder), _interruptible():
        folder.add_event("run_started", launches=len(plan.launches))
        try:
            for launch in plan.launches:
                if launch.optional and not _is_needed(plan, launch, folder):
                    folder.add_event("launch_not_needed", launch=launch.id)
                    shown.launch_over(launch, None)
                    continue
                _run_launch(plan, launch, folder, shown)
        except KeyboardInterrupt:
            folder.add_event("run_interrupted")
            raise
        folder.add_event("run_finished")


@contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    with folder.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordError(
                f"{folder.root}: another servegate is running this folder; wait for it to end"
            ) from error
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt and ignore the following ones.

    A second Ctrl-C of an impatient user would otherwise break off the stopping of a server.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_needed(plan: Plan, launch: Launch, folder: RunFolder) -> bool:
    """Whether a launch that may be bought decides anything, as the records stand now."""
    records = list(folder.records(plan))
    if any(record.launch == launch.id for record in records):
        return True  # bought by an earlier start of this run
    wanted = needed(plan, records, folder.facts(plan), launch.block)
    return (launch.layout, launch.arm) in wanted


def _run_launch(plan: Plan, launch: Launch, folder: RunFolder, shown: Display) -> None:
    place = folder.launch(launch.id)
    todo = [cell for cell in launch.cells if not _is_done(place.cell(cell.job))]
    shown.launch(launch)
    if not todo:
        shown.launch_over(launch, None)
        return
    began = time.monotonic()
    _stop_leftover(place)
    for _ in range(_STARTS):
        attempt = place.next_attempt([cell.job for cell in todo])
        runner = LaunchRun(plan, launch, folder, place, attempt, shown)
        for cell in todo:
            take_over(plan, launch, cell, folder, attempt)
        if launch.unsupported:
            runner.recorder.record_all(todo, Status.UNSUPPORTED, "unsupported", launch.unsupported)
        else:
            runner.run(todo)
        if not runner.lost_a_port:
            break
        todo = [cell for cell in todo if _lost_its_port(place.cell(cell.job))]
    shown.launch_over(launch, time.monotonic() - began)


def _is_done(cell: CellFolder) -> bool:
    record = cell.load()
    return record is not None and record.status in (Status.OK, Status.UNSUPPORTED)


def _lost_its_port(cell: CellFolder) -> bool:
    """Whatever else became of a cell stays as it is recorded, when its launch starts again."""
    record = cell.load()
    return record is None or record.failure_class == FailureClass.PORT


def _stop_leftover(place: LaunchFolder) -> None:
    """Stop the server of an earlier servegate that was killed in this very launch."""
    if not place.launch.exists():
        return
    note = load(place.launch, LaunchNote)
    if note.ended_at is None and note.pid is not None and note.create_time is not None:
        stop_orphan(note.pid, note.create_time, note.argv)
