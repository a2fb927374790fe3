"""What a self-test is made of: cases, what each must give, and what it gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.gate.model import Verdict
from pipeline.selftest.stored import Place, Stored

__all__ = ["COLUMNS", "Case", "Column", "Expected", "Outcome", "SelfTest"]

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
    """

    check: tuple[Verdict, ...] = ()
    row: tuple[Verdict, ...] = ()
    run: tuple[Verdict, ...] = ()
    others: tuple[Verdict, ...] = ()


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
