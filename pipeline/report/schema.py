"""The JSON Schema of report.json, from the models that it is made of."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.experiment.gates import Gate
from pipeline.gate.model import Judgement, Row
from pipeline.plan.model import ArmPlan, LayoutKey, PlanModel
from pipeline.report.model import Failure

__all__ = ["ReportDocument", "report_schema_text"]


class _NamedLayout(LayoutKey):
    name: str


class _RowDocument(Row):
    layout: _NamedLayout


class _PlanDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["sglang", "fake"]
    engine_version: str
    device: Literal["cuda", "cpu"]
    model: PlanModel
    arms: list[ArmPlan]
    jobs: dict[str, dict[str, Any]]
    gates: dict[str, dict[str, Gate]]
    launches_per_arm: int
    launches: list[str]


class ReportDocument(Judgement):
    """report.json as a whole; docs/report-format.md explains it."""

    schema_version: Literal[1]
    experiment: str
    description: str
    plan_hash: str
    started_at: str
    ended_at: str
    rows: list[_RowDocument]  # type: ignore[assignment]  # a row whose layout has a name, too
    pairings: list[dict[str, Any]]
    caveats: list[str]
    not_checked: list[str]
    failures: list[Failure]
    plan: _PlanDocument
    provenance: dict[str, Any]


def report_schema_text() -> str:
    """The schema as it is kept in docs/report.schema.json."""
    made = ReportDocument.model_json_schema(mode="serialization")
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "report.json of servegate"
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
