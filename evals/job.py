"""What a job is: settings, the command that runs it as its own process, and what it left behind.

A job never runs inside servegate's own process: :meth:`Job.argv` gives a command, the runner starts
it with a deadline and a log file, and :meth:`Job.read` turns the files of the cell's folder into an
:class:`Outcome`. Everything here is pure but for reading those files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Answer", "Endpoint", "Job", "JobSettings", "Mark", "Outcome", "Progress"]

Mark = Literal["correct", "wrong", "no_answer", "truncated", "error"]


class JobSettings(BaseModel):
    """Settings that every kind of job has; each kind adds its own. Unknown keys are refused.

    A kind declares ``kind: Literal["accuracy"]``, without a default: the spec tells job settings
    apart by it (a discriminated union), and an experiment file always names it. File names are
    ``str``, since strict validation does not take text for a Path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: str = Field(description="Which job this is; each kind narrows it to its own literal.")
    launches: int | None = Field(
        default=None,
        ge=1,
        description="On how many launches of each arm and layout this job runs (the first ones); "
        "null: on all of them.",
    )
    deadline_s: float = Field(
        default=3600.0, gt=0, description="The job's process is stopped after this many seconds."
    )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The server that a job talks to, and what it needs to know about it.

    Attributes:
        base_url: ``http://host:port``, no trailing slash.
        model: The served model's name, as /v1/models lists it.
        tokenizer: Folder or hub name of the tokenizer (the benchmark client counts with it).
        engine: ``"sglang"`` or ``"fake"``.
        python: The interpreter that has the engine installed; jobs of servegate's own code run on
            servegate's interpreter instead.
    """

    base_url: str
    model: str
    tokenizer: str
    engine: str
    python: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a running job is; ``note`` is a short text such as a running accuracy."""

    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished job's files say.

    Attributes:
        status: ``"ok"``; ``"invalid"`` when it ran but must not count; ``"failed"`` when its output
            is missing or cannot be read.
        failure_class: One word for a status other than ok (``"errors"``, ``"incomplete"``,
            ``"no-output"``, ``"bad-output"``), else ``""``.
        reason: One sentence for a status other than ok, else ``""``.
        metrics: Values by metric name (see :mod:`evals.metrics`), the cell's own summary.
        counts: Plain counts (examples, samples, errors, completed, ...).
        runs: For jobs that repeat a measurement inside a launch, the metrics of each run in order.
        details: What a reader may want to know besides (client, dataset digest, ...), JSON values.
        artifacts: Raw files by role, relative to the cell's folder.
    """

    status: Literal["ok", "invalid", "failed"]
    failure_class: str = ""
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    runs: list[dict[str, float]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)


class Answer(BaseModel):
    """One line of answers.jsonl: one question, one repeat.

    `note` says what is unusual in how the answer was read; None where nothing is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str
    repeat: int
    mark: Mark
    expected: str
    extracted: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    started_at: float | None
    ended_at: float | None
    question: str
    response: str
    level: str | None = None
    note: str | None = None


class Job(Protocol):
    """One kind of job. Implementations are stateless; ``evals.JOBS`` lists them by kind."""

    kind: str
    settings_type: type[JobSettings]
    gated: tuple[str, ...]
    """Names of the metrics that a gate may judge, in the order of a report."""
    alone: bool
    """Whether it needs a launch of its own, on which nothing else is measured."""

    def defaults(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings as written, with what follows from the job's name filled in."""
        ...

    def resolve(self, settings: JobSettings, base: Path) -> JobSettings:
        """Settings with file names made absolute against the experiment's folder."""
        ...

    def check(self, settings: JobSettings) -> list[str]:
        """Everything that would make the job fail and can be known before a server starts.

        Each message is ``key: what is wrong, and what to do``; reads local data files only.
        """
        ...

    def missing(self, settings: JobSettings) -> list[str]:
        """What this machine lacks for the job, in the same form; it may be there on another one.

        Asked before a run, and only noted by a plan; touches no network.
        """
        ...

    def argv(self, settings: JobSettings, endpoint: Endpoint, cell: Path) -> list[str]:
        """The command to run; it writes only into ``cell``, which exists."""
        ...

    def env(self, settings: JobSettings, endpoint: Endpoint) -> dict[str, str]:
        """Variables that the command needs over the runner's own environment."""
        ...

    def progress(self, settings: JobSettings, cell: Path) -> Progress:
        """How far the running command is, from its files alone; cheap enough for each second."""
        ...

    def read(self, settings: JobSettings, cell: Path, returncode: int) -> Outcome:
        """What the finished command left. Never raises for what a job may have written."""
        ...
