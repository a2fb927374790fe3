"""A run as the history keeps it, from its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from math import isfinite

from evals.job import Answer
from evals.metrics import METRICS, is_fraction
from pipeline.gate.evidence import (
    Evidence,
    Key,
    collect,
)
from pipeline.gate.model import Judgement, Measured, RecordSummary, Row
from pipeline.gate.quarantine import active, last_day, sets_aside, without
from pipeline.gate.rows import measured
from pipeline.history.fingerprint import arm_facts
from pipeline.history.model import CellValue, Night
from pipeline.history.store import History
from pipeline.plan.model import Plan, by_place
from pipeline.records.folder import RunFolder
from pipeline.records.record import Record, RecordError, read_answers
from pipeline.report.build import Report, build

__all__ = ["Tonight", "means_digest", "means_of", "read_night"]


@dataclass(frozen=True, kw_only=True)
class Tonight:
    """One run, read once: as the history keeps it, and what only its folder has."""

    night: Night
    report: Report
    day: date | None
    means: Mapping[tuple[Key, str], Mapping[str, float]]


def read_night(folder: RunFolder, history: History) -> Tonight:
    """Judge a run by itself, and put together what the history keeps of it.

    Raises:
        RecordError: The plan, the provenance or a record is missing or damaged.
    """
    report = build(folder)
    plan = report.plan
    records = list(folder.records(plan))
    evidence = _evidence(folder, plan, records)
    facts, provenance = folder.facts(plan), folder.load_provenance()
    places = [(layout, arm.name) for layout in plan.layouts for arm in plan.arms]
    night = Night(
        experiment=plan.experiment,
        run=folder.root.resolve().name,
        folder=history.stored_folder(folder.root),
        started_at=report.started_at or str(provenance.get("run", {}).get("started_at", "")),
        plan_hash=plan.hash,
        verdict=report.judgement.verdict.value,
        cells=list(_cells(plan, report.judgement, evidence, last_day(records))),
        facts=[
            arm_facts(
                plan, layout, arm, facts=facts, records=records, model=provenance.get("model", {})
            )
            for layout, arm in places
        ],
    )
    means = {
        (key, metric): side.question_means(metric)
        for key, side in evidence.items()
        for metric in METRICS
        if is_fraction(metric) and any(side.marks)
    }
    return Tonight(night=night, report=report, day=last_day(records), means=means)


def means_of(folder: RunFolder, cell: CellValue) -> Mapping[str, float] | None:
    """The question means of a night's cell from its run's folder, where they are still kept.

    None where the folder or its answers are gone, or are not those that the history saw.
    """
    try:
        plan = folder.load_plan()
        records = [
            record
            for record in folder.records(plan)
            if (record.layout, record.arm, record.job) == (cell.layout, cell.arm, cell.job)
        ]
        side = _evidence(folder, plan, records)[cell.layout, cell.arm, cell.job]
        means = side.question_means(cell.metric)
    except (RecordError, OSError, KeyError):
        return None
    return means if means_digest(means) == cell.means_digest else None


def means_digest(means: Mapping[str, float]) -> str:
    """SHA-256 of question means, independent of their order."""
    return hashlib.sha256(json.dumps(sorted(means.items())).encode()).hexdigest()


def _evidence(folder: RunFolder, plan: Plan, records: list[Record]) -> dict[Key, Evidence]:
    def answers(record: Record) -> list[Answer]:
        return read_answers(folder.launch(record.launch).cell(record.job).root)

    return collect(plan, records, answers, lambda _record: ())


def _cells(
    plan: Plan, judgement: Judgement, evidence: Mapping[Key, Evidence], day: date | None
) -> Iterator[CellValue]:
    rows = {(row.layout, row.arm): row for row in judgement.rows}
    launches = by_place(plan.launches)
    for (layout, arm, job), side in evidence.items():
        row = rows[layout, arm]
        aside = active(plan, layout, arm, day)
        seen = {m.metric: m for m in measured({job: side}, plan.alpha)}
        gated = plan.gates.get(job, {})
        for name, metric in METRICS.items():
            if name not in gated and (name not in seen or metric.better == "neither"):
                continue
            made = CellValue(
                layout=layout,
                arm=arm,
                job=job,
                metric=name,
                value=None,
                gated=name in gated,
                verdict=_verdict(row, job, name),
                quarantine=row.quarantine or sets_aside(aside, job, name),
            )
            if broken := _broken(plan, row, without(row.records, aside, launches[layout, arm])):
                yield made.model_copy(update={"gap": broken})
            elif metric.compared_as == "shift":
                yield from _shift(made, row)
            else:
                yield _filled(made, side, seen.get(name))


def _broken(plan: Plan, row: Row, counting: RecordSummary) -> str:
    """Why nothing of an arm on a layout counts, however good its other records; "" if it does."""
    invalid = next((p for p in counting.problems if p.status == "invalid"), None)
    if invalid is not None:
        return f"{invalid.cell} is invalid: {invalid.reason}"
    if plan.require_proof and (row.proof.missing or not row.proof.asked):
        return f"proof is required, and missing for: {', '.join(row.proof.missing) or 'all'}"
    return ""


def _filled(made: CellValue, side: Evidence, seen: Measured | None) -> CellValue:
    gap = side.gap_of(made.metric)
    if gap or seen is None:
        return made.model_copy(update={"gap": gap or "no record has this metric"})
    digest = means_digest(side.question_means(made.metric)) if is_fraction(made.metric) else ""
    return made.model_copy(
        update={
            "value": seen.value,
            "launches": [launch.value for launch in seen.launches if isfinite(launch.value)],
            "n": seen.n,
            "interval": seen.interval,
            "means_digest": digest,
        }
    )


def _shift(made: CellValue, row: Row) -> Iterator[CellValue]:
    """A shift is a distance to the same night's reference, which has none itself."""
    for check in row.checks:
        if (check.job, check.metric, check.against) == (made.job, made.metric, "reference"):
            gap = "" if check.estimate is not None else check.reason or "no shift was measured"
            yield made.model_copy(update={"value": check.estimate, "n": check.n or 0, "gap": gap})


def _verdict(row: Row, job: str, metric: str) -> str:
    for check in row.checks:
        if (check.job, check.metric, check.against) == (job, metric, "reference"):
            return "" if check.verdict is None else check.verdict.value
    return ""
