"""A report as data: all that report.json, report.md and report.html say, from records alone."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.compare.pairing import Pairing
from pipeline.compare.text import pairing_document
from pipeline.gate.model import Judgement
from pipeline.plan.model import Plan
from pipeline.records.record import Record

__all__ = ["SCHEMA_VERSION", "Failure", "Report", "failure_of"]

# History of report.json's format (docs/report-format.md):
# 1: first form.
SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Failure(_Frozen):
    """A record that does not count, with the last lines of the log that says why."""

    cell: str
    arm: str
    layout: str
    status: str
    failure_class: str
    reason: str
    log_tail: list[str]


class Report(_Frozen):
    """Everything that a reader gets.

    Attributes:
        plan: What was to be run.
        judgement: What the records allow to say.
        pairings: Every arm's answers beside the reference's.
        caveats: What a reader must know before any number.
        failures: Records that do not count, in the plan's order.
        not_checked: What nobody should think was checked.
        provenance: The run's notes of its machine, as they are.
        started_at: Start of the first record, "" without records.
        ended_at: End of the last record.
        records: Records that exist.
    """

    plan: Plan
    judgement: Judgement
    pairings: list[Pairing]
    caveats: list[str]
    failures: list[Failure]
    not_checked: list[str]
    provenance: dict[str, Any]
    started_at: str
    ended_at: str
    records: int

    def verdict_document(self) -> dict[str, Any]:
        """The verdict alone, as one JSON document."""
        judgement = self.judgement
        return {
            "schema_version": SCHEMA_VERSION,
            "experiment": self.plan.experiment,
            "plan_hash": self.plan.hash,
            "verdict": judgement.verdict.value,
            "exit_code": judgement.exit_code,
            "reason": judgement.reason,
            "rows": [
                {
                    "layout": str(row.layout),
                    "arm": row.arm,
                    "role": row.role,
                    "verdict": row.verdict.value,
                    "reasons": row.reasons,
                }
                for row in judgement.rows
            ],
        }

    def document(self) -> dict[str, Any]:
        """The whole report, as report.json holds it."""
        judged = self.judgement.model_dump(mode="json")
        for made, row in zip(judged["rows"], self.judgement.rows, strict=True):
            made["layout"] = {"name": str(row.layout), **made["layout"]}
        plan = self.plan.model_dump(
            mode="json",
            include={"engine", "engine_version", "device", "model", "arms", "jobs", "gates"},
        )
        whole = {
            "schema_version": SCHEMA_VERSION,
            "experiment": self.plan.experiment,
            "description": self.plan.description,
            "plan_hash": self.plan.hash,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            **judged,
            "pairings": [pairing_document(pairing) for pairing in self.pairings],
            "caveats": self.caveats,
            "not_checked": self.not_checked,
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "plan": {
                **plan,
                "launches_per_arm": self.plan.launches_per_arm,
                "launches": [launch.id for launch in self.plan.launches],
            },
            "provenance": self.provenance,
        }
        rounded: dict[str, Any] = _rounded(whole)
        return rounded


def failure_of(record: Record, status: str, failure_class: str, reason: str) -> Failure:
    """What a report says of a record that does not count."""
    return Failure(
        cell=record.cell,
        arm=record.arm,
        layout=str(record.layout),
        status=status,
        failure_class=failure_class,
        reason=reason,
        log_tail=record.log_tail,
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Ten digits that count: enough for all, and equal where libraries differ in the last bit."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
