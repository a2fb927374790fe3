"""Stored records to inject faults into: those that servegate ships, or a run's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from evals.files import DataError
from evals.job import Answer, Mark
from evals.logprobs.trails import Trail, read_trails
from pipeline.gate import Judgement, judge
from pipeline.gate.model import Verdict
from pipeline.plan.model import Launch, LayoutKey, Plan
from pipeline.records.facts import Facts
from pipeline.records.folder import RunFolder
from pipeline.records.record import Record, RecordError, read_answers

_T = TypeVar("_T")

SHIPPED = "stored.json"

# How stored.json writes a mark; one character an answer keeps the file small.
LETTERS: dict[str, Mark] = {
    "c": "correct",
    "w": "wrong",
    "n": "no_answer",
    "t": "truncated",
    "e": "error",
}


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
            id=f"q{number:04d}",
            repeat=0,
            mark=LETTERS[letter],
            expected="",
            extracted=None,
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            started_at=0.0,
            ended_at=0.0,
            question="",
            response="",
            level="",
        )
        for number, letter in enumerate(letters)
    ]


Column = Literal["harm", "gain", "nothing", "missing", "invalid"]

COLUMNS: tuple[Column, ...] = ("harm", "gain", "nothing", "missing", "invalid")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Verdicts of which each must be found; an empty tuple: not asked.

    Attributes:
        check: Of the case's metric against the reference (or what ``Case.against`` names).
        row: Of the row at the case's place.
        run: Of the whole run; its exit code follows from it.
        others: Of every other row; what nobody touched must not change.
        headline: Words that the sentence about the whole run must have; "": not asked.
    """

    check: tuple[Verdict, ...] = ()
    row: tuple[Verdict, ...] = ()
    run: tuple[Verdict, ...] = ()
    others: tuple[Verdict, ...] = ()
    headline: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One injection and what the gate must make of it.

    Attributes:
        name: A few words.
        column: Of the matrix; None: a case of its own.
        job: The job whose gate is looked at; "": none.
        metric: The metric, likewise.
        against: Against what the looked-at check is.
        place: The row.
        stored: The records after the injection, with the plan that they are judged by.
        expected: What must be found.
        injected: One sentence.
    """

    name: str
    column: Column | None = None
    job: str = ""
    metric: str = ""
    against: str = "reference"
    place: Place
    stored: Stored
    expected: Expected
    injected: str


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Outcome(_Frozen):
    """A case, judged.

    ``expected`` and ``found`` are verdicts, the check's where the case looks at one, else the row's
    or the run's. ``problems`` say what was not as it must be; empty: all was.
    """

    name: str
    column: Column | None
    job: str
    metric: str
    arm: str
    layout: str
    injected: str
    expected: list[str]
    found: str
    exit_code: int
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether all is as expected."""
        return not self.problems


class SelfTest(_Frozen):
    """All outcomes.

    Attributes:
        schema_version: Of this document.
        source: Whose records were used.
        ok: Whether every case came out as expected, and there was one.
        exit_code: 0, or 3 where the gate cannot be vouched for.
        outcomes: In order.
        left_out: Cells of the matrix that cannot be made, and why.
    """

    schema_version: Literal[1] = 1
    source: str
    ok: bool
    exit_code: int
    outcomes: list[Outcome]
    left_out: list[str]

    def unexpected(self) -> Sequence[Outcome]:
        """What did not come out as it must."""
        return [outcome for outcome in self.outcomes if not outcome.ok]
