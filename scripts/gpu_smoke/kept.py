"""Finds kept records: the newest run of an experiment, the newest session that has a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.records.folder import RunFolder
from pipeline.records.record import Record
from scripts.gpu_smoke.records_page import machine

__all__ = ["KeptRun", "newest_part", "newest_run", "sessions", "source_of"]


@dataclass(frozen=True, kw_only=True)
class KeptRun:
    """A run with what figures are taken from.

    Attributes:
        path: Its folder.
        plan: plan.json.
        provenance: provenance.json.
        report: report.json.
        records: In the plan's order; what was not run is not there.
    """

    path: Path
    plan: dict[str, Any]
    provenance: dict[str, Any]
    report: dict[str, Any]
    records: list[Record]

    @classmethod
    def of(cls, path: Path) -> KeptRun:
        """Read it.

        Raises:
            pipeline.records.record.RecordError: It is damaged.
        """
        folder = RunFolder(path)
        return cls(
            path=path,
            plan=_json(folder.plan),
            provenance=folder.load_provenance(),
            report=_json(folder.report_json),
            records=list(folder.records(folder.load_plan())),
        )

    @property
    def complete(self) -> bool:
        """Whether every planned cell has a record."""
        return len(self.records) == sum(len(one["cells"]) for one in self.plan["launches"])

    def source(self, root: Path) -> str:
        """Where its figures come from, for a reader of a page beside `root`: run, machine, day."""
        name = f"{self.path.parent.name}/{self.path.name}"
        link = self.path.relative_to(root.parent) / "report.md"
        return f"[{name}]({link}) on {machine(self.provenance)}, {self.day}"

    @property
    def day(self) -> str:
        """The day it began, UTC."""
        return str(self.provenance["run"]["started_at"][:10])


def sessions(root: Path) -> list[Path]:
    """Folders that keep_records.py filled, in order of their names."""
    return sorted(path.parent for path in root.glob("*/README.md"))


def newest_run(root: Path, experiment: str) -> KeptRun | None:
    """The run that was begun last, of all sessions; None: there is none."""
    found = sorted(root.glob(f"*/runs/{experiment}/*/plan.json"), key=lambda path: path.parent.name)
    return KeptRun.of(found[-1].parent) if found else None


def newest_part(root: Path, name: str) -> tuple[Any, str] | None:
    """What a file says and where it comes from, of the last session that has it; None: no one."""
    found = [session for session in sessions(root) if (session / name).exists()]
    if not found:
        return None
    path = found[-1] / name
    return _json(path), source_of(path, root)


def source_of(path: Path, root: Path) -> str:
    """Where figures of a file come from, for a reader of a page beside `root`: machine and day."""
    session = root / path.relative_to(root).parts[0]
    run = KeptRun.of(min(session.glob("runs/*/*/plan.json")).parent)
    link = f"[{path.relative_to(session)}]({path.relative_to(root.parent)})"
    return f"{link} on {machine(run.provenance)}, {run.day}"


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(path.read_text(encoding="utf-8"))
