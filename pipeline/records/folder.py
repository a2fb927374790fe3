"""Every path of a run; nobody else spells them. What is there is never overwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.plan.model import Plan
from pipeline.records.facts import Facts
from pipeline.records.record import (
    Record,
    RecordError,
    Status,
    load,
    load_record,
    read_json,
    write_json,
)

__all__ = ["CellFolder", "LaunchFolder", "RunFolder"]

_SIGN_LINES = 64


class CellFolder:
    """Every path of one cell."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record = root / "record.json"
        self.job_log = root / "job.log"
        self.answers = root / "answers.jsonl"
        self.logprobs = root / "logprobs.jsonl"
        self.gpu_samples = root / "gpu.jsonl"

    def load(self) -> Record | None:
        """The cell's record; None while there is none.

        Raises:
            RecordError: There is one and it is damaged or of another version.
        """
        return load_record(self.record) if self.record.exists() else None

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
        self.facts = root / "facts.json"
        self._attempts = root / "attempts"

    def witnesses(self) -> list[dict[str, Any]]:
        """The witness files of the MixedComm plugin, parsed, in rank order; damaged ones left out.

        The plugin writes them under this name and renames them into place
        (its module witness), so a damaged one is no race but a fault: its rank is then missing,
        which is how the premises see it.
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

    def log_signs(self, patterns: Mapping[str, str]) -> dict[str, list[str]]:
        """Lines of the server's log that match, by the pattern's name; at most 64 of each.

        64 is more than one line for each rank of any server that one log can hold.
        """
        compiled = {name: re.compile(pattern) for name, pattern in patterns.items()}
        found: dict[str, list[str]] = {name: [] for name in patterns}
        try:
            with self.server_log.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    for name, pattern in compiled.items():
                        if len(found[name]) < _SIGN_LINES and pattern.search(line):
                            found[name].append(line.strip())
        except FileNotFoundError:
            return {}
        return {name: lines for name, lines in found.items() if lines}

    def load_facts(self) -> Facts | None:
        """What the launch ran with; None where it was never ready, or is older than facts.json.

        Raises:
            RecordError: The file is damaged or of another version.
        """
        return load(self.facts, Facts) if self.facts.exists() else None

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

    def earlier(self, attempt: int) -> LaunchFolder | None:
        """What the attempt before this one left; None before the first."""
        aside = self._attempts / str(attempt - 1)
        return LaunchFolder(aside) if aside.exists() else None


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
        self.flips = root / "flips.jsonl"
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
        return load(self.plan, Plan)

    def load_provenance(self) -> dict[str, Any]:
        """What the run noted of the machine before it started."""
        data = read_json(self.provenance)
        if not isinstance(data, dict):
            raise RecordError(f"{self.provenance}: must be a mapping")
        return data

    def records(self, plan: Plan) -> Iterator[Record]:
        """The records that exist, in the plan's order."""
        for launch in plan.launches:
            folder = self.launch(launch.id)
            for cell in launch.cells:
                record = folder.cell(cell.job).load()
                if record is not None:
                    yield record

    def facts(self, plan: Plan) -> dict[str, Facts]:
        """What each launch ran with, by its id, as far as it is known."""
        found = ((launch.id, self.launch(launch.id).load_facts()) for launch in plan.launches)
        return {launch: facts for launch, facts in found if facts is not None}

    def add_event(self, event: str, /, **fields: object) -> None:
        """Append one line to events.jsonl; one write, so that a kill leaves whole lines."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": stamp, "event": event, **fields}, ensure_ascii=False)
        with self.events.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
