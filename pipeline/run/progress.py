"""What a person sees while a run goes on: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from evals.job import Progress as JobProgress
from pipeline.plan.model import Launch, Plan
from pipeline.records.record import Record, Status

__all__ = ["Display", "display"]

_COLOURS = {
    Status.OK: "green",
    Status.FAILED: "red",
    Status.INVALID: "red",
    Status.UNSUPPORTED: "yellow",
    Status.ABORTED: "yellow",
}


class Display(Protocol):
    """Told of everything that happens in a run, in order."""

    def launch(self, launch: Launch) -> None:
        """A launch begins."""
        ...

    def state(self, text: str) -> None:
        """The launch's server changed its state."""
        ...

    def job(self, job: str, progress: JobProgress) -> None:
        """A job came this far."""
        ...

    def record(self, record: Record) -> None:
        """A cell is over."""
        ...

    def launch_over(self, launch: Launch, seconds: float | None) -> None:
        """A launch is over; ``seconds`` is None when nothing was left to do or to decide."""
        ...


@contextmanager
def display(plan: Plan, console: Console) -> Iterator[Display]:
    """The live view if ``console`` is a terminal, else plain lines."""
    if not console.is_terminal:
        yield _Plain(plan, console)
        return
    view = _Rich(plan, console)
    with Live(view.group, console=console, refresh_per_second=4, transient=True):
        yield view


class _Clock:
    """Time left, from how long the launches so far took."""

    def __init__(self, launches: int) -> None:
        self.left = launches
        self._seconds: list[float] = []

    def over(self, seconds: float | None) -> None:
        self.left -= 1
        if seconds is not None:
            self._seconds.append(seconds)

    def text(self) -> str:
        if not self._seconds or self.left == 0:
            return ""
        return _duration(self.left * sum(self._seconds) / len(self._seconds))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _outcome(record: Record) -> str:
    if record.status is Status.OK:
        shown = [
            f"{name} {record.metrics[name]:.4g}"
            for name in ("score", "median_itl_ms", "median_ttft_ms")
            if name in record.metrics
        ]
        if (stop := record.details.get("stopped")) is not None:
            shown.append(
                f"decided after {stop['questions']} of {record.details['examples']} questions"
            )
        return f"ok in {_duration(record.seconds)}" + "".join(f", {text}" for text in shown)
    first_line = record.reason.splitlines()[0] if record.reason else ""
    return f"{record.status.value} ({record.failure_class}): {first_line}"


def _left_out(launch: Launch) -> str:
    return "not needed, or done" if launch.optional else "nothing left to do"


class _Plain:
    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._clock = _Clock(len(plan.launches))
        self._said = (0.0, "")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def launch(self, launch: Launch) -> None:
        total = len(self._plan.launches)
        self._line(
            f"[{launch.index + 1}/{total}] {launch.id} (block {launch.block + 1} of "
            f"{self._plan.launches_per_arm}, {launch.layout})"
        )

    def state(self, text: str) -> None:
        self._line(f"    {text}")

    def job(self, job: str, progress: JobProgress) -> None:
        # A log is no place for four lines a second.
        last, last_job = self._said
        if job == last_job and time.monotonic() - last < 30:
            return
        self._said = (time.monotonic(), job)
        note = f" ({progress.note})" if progress.note else ""
        self._line(f"    {job}: {progress.done}/{progress.total}{note}")

    def record(self, record: Record) -> None:
        self._line(f"    {record.job}: {_outcome(record)}")

    def launch_over(self, launch: Launch, seconds: float | None) -> None:
        self._clock.over(seconds)
        if seconds is None:
            self._line(f"[{launch.index + 1}] {launch.id}: {_left_out(launch)}")
        elif left := self._clock.text():
            self._line(f"    {self._clock.left} launches to go, about {left}")


class _Rich:
    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._clock = _Clock(len(plan.launches))
        columns = (
            TextColumn("{task.description}", style="bold"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        self._bars = Progress(*columns, console=console)
        self._launches = self._bars.add_task(plan.experiment, total=len(plan.launches), note="")
        self._job: tuple[str, TaskID] | None = None
        self._state = Text("", no_wrap=True, overflow="ellipsis")
        self.group = Group(self._bars, self._state)

    def launch(self, launch: Launch) -> None:
        block = f"block {launch.block + 1}/{self._plan.launches_per_arm}"
        left = self._clock.text()
        note = f"{block}  {launch.id}" + (f"  about {left} left" if left else "")
        self._bars.update(self._launches, note=note)
        self._console.print(Text(launch.id, style="bold"), Text(f"{launch.layout}, {block}"))

    def state(self, text: str) -> None:
        self._state.plain = f"server: {text}"

    def job(self, job: str, progress: JobProgress) -> None:
        if self._job is None or self._job[0] != job:
            self._drop_job()
            task = self._bars.add_task(f"  {job}", total=progress.total, note="")
            self._job = (job, task)
        self._bars.update(
            self._job[1], completed=progress.done, total=progress.total, note=progress.note
        )

    def _drop_job(self) -> None:
        if self._job is not None:
            self._bars.remove_task(self._job[1])
            self._job = None

    def record(self, record: Record) -> None:
        self._drop_job()
        line = Text(f"  {record.job}: ")
        line.append(_outcome(record), style=_COLOURS[record.status])
        self._console.print(line)

    def launch_over(self, launch: Launch, seconds: float | None) -> None:
        self._clock.over(seconds)
        self._bars.advance(self._launches)
        self._state.plain = ""
        if seconds is None:
            self._console.print(Text(f"{launch.id}: {_left_out(launch)}", style="dim"))
