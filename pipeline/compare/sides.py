"""What may be compared: the accuracy cells of a servegate run, or answers that others kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evals.accuracy.answer_set import AnswerSet, QuestionText, question_text
from evals.accuracy.marking.marker import MARKER
from evals.job import Answer
from evals.told_settings import flat, told
from pipeline.gate.evidence import problem_of
from pipeline.records.folder import RunFolder
from pipeline.records.record import Record, read_answers
from pipeline.report.pairings import asking

SERVEGATE = "servegate"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One arm's answers to one job.

    Attributes:
        source: The folder that they are from.
        job: The job's name, or the benchmark's.
        benchmark: What was asked; "" where the source does not say.
        layout: Where it ran; "" where the source does not say.
        arm: The arm; "" where the source has none.
        answers: Of all launches and repeats.
        settings: Of asking and sampling, as far as the source says.
        margins: Of the run's own gates on this job, by metric.
        stopped: Whether it was asked in stages and not to the end.
        problem: Why it must not be compared; "" if it may.
        tool: Who asked and marked.
        prompts: A digest of what the model saw, by question; empty where it is not kept.
        marked: Whether the answers have marks of the tool's own.
        texts: Whether the answers' texts were kept.
        marking: How the tool marked, where it marked one answer in several ways.
        first_marking: False where another side has the same answers, marked otherwise.
        notes: What a reader must know of how it was read.
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
    tool: str = SERVEGATE
    prompts: Mapping[str, str] = field(default_factory=dict)
    marked: bool = True
    texts: bool = True
    marking: str = ""
    first_marking: bool = True
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a table calls it: the arm, or the folder where there is none."""
        return self.arm or Path(self.source).resolve().name

    @cached_property
    def questions(self) -> dict[str, QuestionText]:
        """The text of every question, by its id."""
        asked = {one.id: one.question for one in self.answers}
        return {key: question_text(text) for key, text in asked.items()}


def of_answers(source: Path, answers: AnswerSet) -> Side:
    """The side that an evaluator's answers are."""
    job = answers.benchmark or source.resolve().name
    if answers.marking:
        job += f" ({answers.marking})"
    return Side(
        source=str(source),
        job=job,
        benchmark=answers.benchmark,
        layout="",
        arm="",
        answers=answers.answers,
        settings=answers.settings,
        margins={},
        tool=answers.tool,
        prompts=answers.prompts,
        marked=answers.marked,
        texts=answers.texts,
        marking=answers.marking,
        first_marking=answers.first_marking,
        notes=answers.notes,
    )


def of_run(run: RunFolder) -> list[Side]:
    """Every arm's answers to every job of a run, in the plan's order."""
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
                settings=_settings(there[0]) if there else {},
                margins={name: gate.margin for name, gate in plan.gates.get(job, {}).items()},
                stopped=any(record.details.get("stopped") for record in there),
                problem=problem,
            )
        )
    return sides


def _settings(record: Record) -> dict[str, Any]:
    """How a record's questions were asked; the questions themselves are compared one by one."""
    settings = told(flat(asking(record)), not_settings=("questions_digest",), names={})
    grader = str(settings.get("grader", ""))
    if grader and not grader.startswith(MARKER):
        # Before servegate had a marker of its own: sgl-eval's graders, of which sgl-eval's own
        # command writes the commit alone.
        settings["grader"] = grader.rpartition("@")[2]
    return settings


def _answers(
    run: RunFolder, planned: Sequence[tuple[str, Record | None]]
) -> tuple[list[Answer], str]:
    found: list[Answer] = []
    for cell, record in planned:
        problem = problem_of(record)
        if problem is not None or record is None:
            reason = " ".join(problem) if problem is not None else "not run"
            return [], f"{cell}: {reason}"
        found += read_answers(run.launch(record.launch).cell(record.job).root)
    return found, ""
