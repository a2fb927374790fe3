"""Known-bad cells that an experiment sets aside for a while."""

from __future__ import annotations

from datetime import date
from fnmatch import fnmatchcase
from typing import Self

from pydantic import Field, field_validator, model_validator

from pipeline.experiment.strict import Strict

__all__ = ["Quarantine"]

# A known-bad cell is mended within a month, or its quarantine is renewed by somebody who looked.
_LONGEST_QUARANTINE_DAYS = 30


class Quarantine(Strict):
    """A known-bad cell that is shown but takes no part in the verdict, for a while.

    Patterns are those of a shell (``*``, ``?``, ``[...]``); ``*`` takes all. A day is one in UTC,
    and the day of a run is that on which its last record ended.
    """

    layout: str = Field(default="*", description="A layout as reports name it: tp8-dp2-ep4.")
    arm: str = Field(description="The arm.")
    job: str = Field(default="*", description="The job.")
    metric: str = Field(default="*", description="The gated metric.")
    owner: str = Field(min_length=1, description="Who sees to it.")
    note: str = Field(min_length=1, description="What is known, and where it is followed.")
    since: date = Field(strict=False, description="First day.")
    until: date = Field(strict=False, description="Last day; at most 30 days after the first.")

    @field_validator("owner", "note")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must say something: nobody follows a quarantine without it")
        return text

    @model_validator(mode="after")
    def _ends(self) -> Self:
        days = (self.until - self.since).days
        if not 0 <= days <= _LONGEST_QUARANTINE_DAYS:
            raise ValueError(
                f"until {self.until} is {days} days after since {self.since}; allowed are 0 to "
                f"{_LONGEST_QUARANTINE_DAYS}: renew it when somebody has looked again"
            )
        return self

    @property
    def whole_row(self) -> bool:
        """Whether it sets all of a row aside."""
        return self.job == self.metric == "*"

    def covers(self, job: str, metric: str) -> bool:
        """Whether it holds for this gate of a row that it holds for."""
        return fnmatchcase(job, self.job) and fnmatchcase(metric, self.metric)
