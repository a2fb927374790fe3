"""Stored records to inject faults into: those that servegate ships, or a run's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

from evals.job import Answer, Mark
from evals.logprobs_files import Trail, read_trails
from evals.questions import DataError
from pipeline.facts import Facts
from pipeline.gate import Judgement, judge
from pipeline.layout import LayoutKey
from pipeline.plan import Launch, Plan
from pipeline.records import Record, RecordError, read_answers
from pipeline.run_folder import RunFolder

__all__ = ["Place", "Stored", "from_run", "shipped"]

_T = TypeVar("_T")

SHIPPED = "stored.json"

# How stored.json writes a mark; one character an answer keeps the file small.
LETTERS: dict[str, Mark] = {
    "c": "correct", "w": "wrong", "n": "no_answer", "t": "truncated", "e": "error",
}  # fmt: skip


class Place(NamedTuple):
    """A row of a report."""

    layout: LayoutKey
    arm: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A run in memory. Nothing in it is changed in place: each injection gives a new one.

    Attributes:
        source: Where it came from.
        plan: The plan.
        records: By cell.
        answers: By cell; a cell that has none has lost its file.
        trails: Likewise, of logprobs jobs.
        facts: By launch.
        witnesses: Witness files by launch, parsed, in rank order.
        strict: Whether records and gates are known to allow a pass, as the shipped ones are; a
            run's own may have too few questions for its margins.
    """

    source: str
    plan: Plan
    records: Mapping[str, Record]
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    trails: Mapping[str, Sequence[Trail]] = field(default_factory=dict)
    facts: Mapping[str, Facts] = field(default_factory=dict)
    witnesses: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    strict: bool = True

    def judged(self) -> Judgement:
        """What the gate says of it."""
        return judge(
            self.plan,
            self.records.values(),
            lambda record: _kept(self.answers, record, "answers"),
            self.facts,
            lambda record: _kept(self.trails, record, "log-probabilities"),
        )

    def launches(self, place: Place, job: str) -> list[Launch]:
        """Launches of one arm on one layout that run a job."""
        return [
            launch
            for launch in self.plan.launches
            if (launch.layout, launch.arm) == place and any(c.job == job for c in launch.cells)
        ]

    def cells(self, place: Place, job: str) -> list[str]:
        """Ids of the planned cells of one arm, layout and job, in block order."""
        return [f"{launch.id}/{job}" for launch in self.launches(place, job)]

    def with_records(self, changed: Mapping[str, Record]) -> Stored:
        """The same with some records replaced."""
        return replace(self, records={**self.records, **changed})

    def with_gates(self, gates: Mapping[str, Mapping[str, Any]]) -> Stored:
        """The same under other gates."""
        plan = self.plan.model_copy(update={"gates": {job: dict(g) for job, g in gates.items()}})
        return replace(self, plan=plan)


def _kept(kept: Mapping[str, Sequence[_T]], record: Record, what: str) -> Sequence[_T]:
    if record.cell not in kept:
        raise RecordError(f"the file with its {what} is missing")
    return kept[record.cell]


def from_run(run: RunFolder) -> Stored:
    """A run's own records, answers, log-probabilities, facts and witness files.

    What cannot be read is left out: faults are injected into what is there.

    Raises:
        RecordError: The plan or a record is missing or damaged.
    """
    plan = run.load_plan()
    records = {record.cell: record for record in run.records(plan)}
    answers: dict[str, Sequence[Answer]] = {}
    trails: dict[str, Sequence[Trail]] = {}
    for record in records.values():
        cell = run.launch(record.launch).cell(record.job)
        try:
            if record.kind == "accuracy":
                answers[record.cell] = read_answers(cell.root)
            elif record.kind == "logprobs":
                trails[record.cell] = read_trails(cell.logprobs)
        except (RecordError, DataError):
            continue
    return Stored(
        source=str(run.root),
        plan=plan,
        records=records,
        answers=answers,
        trails=trails,
        facts=run.facts(plan),
        witnesses={launch.id: run.launch(launch.id).witnesses() for launch in plan.launches},
        strict=False,
    )


def shipped() -> Stored:
    """The records that servegate ships: every metric that can be gated has a gate in them."""
    data = json.loads(files("pipeline.selftest").joinpath(SHIPPED).read_text(encoding="utf-8"))
    return Stored(
        source="records that servegate ships",
        plan=Plan.model_validate(data["plan"]),
        records={
            made.cell: made for made in (Record.model_validate(one) for one in data["records"])
        },
        answers={cell: _answers(letters) for cell, letters in data["answers"].items()},
        trails={
            cell: [Trail.model_validate(data["trails"][name]) for name in names]
            for cell, names in data["trails_of"].items()
        },
        facts={launch: Facts.model_validate(data["facts"]) for launch in data["facts_of"]},
        witnesses=data["witnesses"],
    )


def _answers(letters: str) -> list[Answer]:
    return [
        Answer(
            id=f"q{number:04d}", repeat=0, mark=LETTERS[letter], expected="", extracted=None,
            finish_reason="stop", prompt_tokens=1, completion_tokens=1, started_at=0.0,
            ended_at=0.0, question="", response="", level="",
        )
        for number, letter in enumerate(letters)
    ]  # fmt: skip
