"""What may be compared: the accuracy cells of a servegate run, or a run folder of sgl-eval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.accuracy.questions import DataError
from evals.accuracy.sgl_eval import is_sgl_eval_run, read_sgl_eval_run
from evals.job import Answer
from pipeline.gate.evidence import problem_of
from pipeline.records.folder import RunFolder
from pipeline.records.record import Record, RecordError, read_answers
from pipeline.report.pairings import asking


@dataclass(frozen=True, kw_only=True)
class Side:
    """One arm's answers to one job.

    Attributes:
        source: The folder that they are from.
        job: The job's name, or the benchmark's.
        benchmark: What was asked.
        layout: Where it ran; "" where the source does not say.
        arm: The arm; "" where the source has none.
        answers: Of all launches and repeats.
        settings: Of asking and sampling, as far as the source says.
        margins: Of the run's own gates on this job, by metric.
        stopped: Whether it was asked in stages and not to the end.
        problem: Why it must not be compared; "" if it may.
    """

    source: str
    job: str
    benchmark: str
    layout: str
    arm: str
    answers: Sequence[Answer]
    settings: Mapping[str, Any]
    margins: Mapping[str, float]
    stopped: bool = False
    problem: str = ""

    @property
    def name(self) -> str:
        """What a table calls it: the arm, or the folder where there is none."""
        return self.arm or Path(self.source).name


def read_sides(folder: Path) -> list[Side]:
    """Every side that a folder holds, in its own order.

    Args:
        folder: A run folder of servegate, or one of sgl-eval.

    Raises:
        RecordError: It is neither, or cannot be read.
    """
    if (folder / "plan.json").is_file():
        return _of_run(RunFolder(folder))
    if not folder.is_dir():
        raise RecordError(f"{folder}: is no folder")
    if not is_sgl_eval_run(folder):
        raise RecordError(
            f"{folder}: is neither a run folder of servegate (plan.json) nor one of sgl-eval "
            "(metrics.json and output-rs*.jsonl)"
        )
    try:
        found = read_sgl_eval_run(folder)
    except DataError as error:
        raise RecordError(str(error)) from error
    return [
        Side(
            source=str(folder),
            job=found.benchmark,
            benchmark=found.benchmark,
            layout="",
            arm="",
            answers=found.answers,
            settings=found.settings,
            margins={},
        )
    ]


def _of_run(run: RunFolder) -> list[Side]:
    plan = run.load_plan()
    records = {record.cell: record for record in run.records(plan)}
    cells: dict[tuple[str, str, str], list[tuple[str, Record | None]]] = defaultdict(list)
    for launch in plan.launches:
        for cell in launch.cells:
            if cell.kind == "accuracy":
                key = (cell.job, str(launch.layout), launch.arm)
                cells[key].append((cell.id, records.get(cell.id)))
    sides: list[Side] = []
    for (job, layout, arm), planned in cells.items():
        answers, problem = _answers(run, planned)
        there = [record for _, record in planned if record is not None]
        sides.append(
            Side(
                source=str(run.root),
                job=job,
                benchmark=str(plan.jobs[job]["benchmark"]),
                layout=layout,
                arm=arm,
                answers=answers,
                settings=asking(there[0]) if there else {},
                margins={name: gate.margin for name, gate in plan.gates.get(job, {}).items()},
                stopped=any(record.details.get("stopped") for record in there),
                problem=problem,
            )
        )
    return sides


def _answers(
    run: RunFolder, planned: Sequence[tuple[str, Record | None]]
) -> tuple[list[Answer], str]:
    found: list[Answer] = []
    for cell, record in planned:
        problem = problem_of(record)
        if problem is not None or record is None:
            told = " ".join(problem) if problem is not None else "not run"
            return [], f"{cell}: {told}"
        found += read_answers(run.launch(record.launch).cell(record.job).root)
    return found, ""


class NothingToCompare(ValueError):
    """No two sides belong together; the message says what each folder has."""


def matched(
    references: Sequence[Side],
    others: Sequence[Side],
    *,
    reference_arm: str | None,
    arm: str | None,
) -> list[tuple[Side, Side]]:
    """Pairs of the same benchmark, layout and arm; a folder without layouts and arms fits all.

    Args:
        references: Of the first folder.
        others: Of the second.
        reference_arm: Only this arm of the first; with it, or with `arm`, names need not be alike.
        arm: Only this arm of the second.

    Raises:
        NothingToCompare: There is no such pair.
    """
    chosen = reference_arm is not None or arm is not None
    left = [side for side in references if reference_arm in (None, side.arm)]
    right = [side for side in others if arm in (None, side.arm)]
    pairs = [
        (one, other)
        for one in left
        for other in right
        if one.benchmark == other.benchmark
        and (one.job == other.job or not (one.arm and other.arm))
        and _alike(one.layout, other.layout)
        and (chosen or _alike(one.arm, other.arm))
    ]
    if not pairs:
        raise NothingToCompare(
            "no two sides ask the same benchmark on the same layout"
            f"{'' if chosen else ' with the same arm (--reference-arm and --arm name others)'}; "
            f"the first has {_told(left)}, the second {_told(right)}"
        )
    return pairs


def _alike(one: str, other: str) -> bool:
    return not one or not other or one == other


def _told(sides: Sequence[Side]) -> str:
    if not sides:
        return "no such answers"
    return ", ".join(" ".join(filter(None, (s.job, s.arm, s.layout))) for s in sides)
