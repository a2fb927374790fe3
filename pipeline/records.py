"""What a run leaves on disk: the record of a cell, the folder of a run, whole-or-absent writes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evals.job import Answer
from pipeline.layout import LayoutKey
from pipeline.plan import Plan

__all__ = [
    "CellFolder",
    "LaunchFolder",
    "PremiseResult",
    "Record",
    "RecordError",
    "RunFolder",
    "Status",
    "read_answers",
    "write_atomic",
    "write_json",
]

_M = TypeVar("_M", bound=BaseModel)

# History of record.json's format:
# 1: first form.
SCHEMA_VERSION = 1


class RecordError(RuntimeError):
    """A run folder or a record in it is missing, damaged or of an unknown version."""


class Status(StrEnum):
    """What became of a cell. Only ``ok`` may count; every other one carries class and reason."""

    OK = "ok"
    FAILED = "failed"
    INVALID = "invalid"
    UNSUPPORTED = "unsupported"
    ABORTED = "aborted"


class PremiseResult(BaseModel):
    """One thing that had to be true for the record to count, and what was found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    state: Literal["proved", "unproved", "disproved"]
    detail: str


class Record(BaseModel):
    """One cell: one job on one launch. Written once, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    cell: str
    launch: str
    attempt: int
    arm: str
    layout: LayoutKey
    block: int
    job: str
    kind: str
    status: Status
    failure_class: str
    reason: str
    log_tail: list[str]
    started_at: str
    ended_at: str
    seconds: float
    settings: dict[str, Any]
    metrics: dict[str, float]
    counts: dict[str, int]
    runs: list[dict[str, float]]
    details: dict[str, Any]
    artifacts: dict[str, str]
    premises: list[PremiseResult]


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is whole or absent, also after kill -9 or power loss.

    The temporary file lies in the same folder: a rename is atomic only inside one file system.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON as people diff it: two spaces, a final newline, keys in the given order."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"{path}: is missing; is this a run folder of servegate?") from error
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def _load(path: Path, model: type[_M]) -> _M:
    data = _read_json(path)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: has schema_version {version!r}; this servegate reads {SCHEMA_VERSION}"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}: damaged at {where}: {first['msg']}") from error


def read_answers(path: Path) -> list[Answer]:
    """All answers of one cell, in file order.

    Raises:
        RecordError: The file is missing or one of its lines is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    answers: list[Answer] = []
    for number, line in enumerate(lines, start=1):
        try:
            answers.append(Answer.model_validate_json(line))
        except ValidationError as error:
            raise RecordError(f"{path}:{number}: is no whole answer line") from error
    return answers


class CellFolder:
    """Every path of one cell."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record = root / "record.json"
        self.job_log = root / "job.log"
        self.answers = root / "answers.jsonl"

    def load(self) -> Record | None:
        """The cell's record; None while there is none.

        Raises:
            RecordError: There is one and it is damaged or of another version.
        """
        return _load(self.record, Record) if self.record.exists() else None

    def write(self, record: Record) -> None:
        """Keep the record, once: a cell that has one is never written again."""
        if self.record.exists():
            raise RecordError(f"{self.record}: exists already; a record is never overwritten")
        write_json(self.record, record.model_dump(mode="json"))


class LaunchFolder:
    """Every path of one launch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.launch = root / "launch.json"
        self.server_log = root / "server.log"
        self.server_info = root / "server_info.json"
        self._attempts = root / "attempts"

    def witnesses(self) -> list[dict[str, Any]]:
        """The witness files of the MixedComm plugin, parsed, in rank order; damaged ones left out.

        The plugin writes them under this name and renames them into place
        (launchers/mixed_comm/witness.py), so a damaged one is no race but a fault: its rank is then
        missing, which is how the premises see it.
        """
        found: list[dict[str, Any]] = []
        for path in self.root.glob("witness-rank*.json"):
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(data, dict) and isinstance(data.get("rank"), int):
                found.append(data)
        return sorted(found, key=lambda witness: int(witness["rank"]))

    def cell(self, job: str) -> CellFolder:
        """The folder of one cell."""
        return CellFolder(self.root / "cells" / job)

    def next_attempt(self, jobs: Sequence[str]) -> int:
        """Make room for another start of this launch; returns its number, from 1.

        What an earlier start left (log, witness files, cells without an ok record) is moved to
        ``attempts/<number>/``: nothing is overwritten, and cells that are ok stay.
        """
        done = sum(1 for _ in self._attempts.iterdir()) if self._attempts.exists() else 0
        stale = [path for path in self.root.glob("*") if path.name not in ("cells", "attempts")]
        stale += [
            cell.root for cell in map(self.cell, jobs) if cell.root.exists() and not _is_ok(cell)
        ]
        if not stale:
            self.root.mkdir(parents=True, exist_ok=True)
            return done + 1
        aside = self._attempts / str(done + 1)
        for path in stale:
            target = aside / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        return done + 2


def _is_ok(cell: CellFolder) -> bool:
    record = cell.load()
    return record is not None and record.status is Status.OK


class RunFolder:
    """Every path of one run; the only place that spells them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.experiment = root / "experiment.yaml"
        self.plan = root / "plan.json"
        self.provenance = root / "provenance.json"
        self.events = root / "events.jsonl"
        self.lock = root / ".lock"
        self.report_html = root / "report.html"
        self.report_md = root / "report.md"
        self.report_json = root / "report.json"
        self.junit = root / "junit.xml"

    @classmethod
    def create(cls, runs: Path, plan: Plan, now: datetime) -> RunFolder:
        """A new, empty folder ``runs/<experiment>/<UTC stamp>-<plan hash>``; never an old one.

        Two runs of one plan in one second get ``-2``, ``-3``, ... behind the name.
        """
        parent = runs / plan.experiment
        parent.mkdir(parents=True, exist_ok=True)
        stem = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{plan.hash}"
        for number in range(1, 1000):
            root = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                root.mkdir()
            except FileExistsError:
                continue
            return cls(root)
        raise RecordError(f"{parent / stem}: a thousand runs of this name exist; clear some away")

    def launch(self, launch_id: str) -> LaunchFolder:
        """The folder of one launch."""
        return LaunchFolder(self.root / "launches" / launch_id)

    def load_plan(self) -> Plan:
        """The plan that this run executes.

        Raises:
            RecordError: Missing, damaged, or of another version.
        """
        return _load(self.plan, Plan)

    def load_provenance(self) -> dict[str, Any]:
        """What the run noted of the machine before it started."""
        data = _read_json(self.provenance)
        if not isinstance(data, dict):
            raise RecordError(f"{self.provenance}: must be a mapping")
        return data

    def records(self, plan: Plan) -> Iterator[Record]:
        """The records that exist, in the plan's order."""
        for launch in plan.launches:
            for cell in launch.cells:
                record = self.launch(launch.id).cell(cell.job).load()
                if record is not None:
                    yield record

    def add_event(self, event: str, /, **fields: object) -> None:
        """Append one line to events.jsonl; one write, so that a kill leaves whole lines."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": stamp, "event": event, **fields}, ensure_ascii=False)
        with self.events.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
