"""The report of a run: built from its records alone, the same bytes each time."""

from __future__ import annotations

from evals.files import DataError
from evals.job import Answer
from evals.logprobs.trails import Trail, read_trails
from pipeline.compare.text import flip_lines
from pipeline.gate import judge
from pipeline.gate.evidence import problem_of
from pipeline.plan.equal_arms import with_resolved_repeats
from pipeline.records.folder import CellFolder, RunFolder
from pipeline.records.record import Record, RecordError, read_answers, write_atomic, write_json
from pipeline.report.ci import junit_xml
from pipeline.report.model import Report, failure_of
from pipeline.report.not_checked import caveats, not_checked
from pipeline.report.pairings import pairings
from pipeline.report.render import render_html, render_markdown

__all__ = ["Report", "build", "write"]


def build(run: RunFolder) -> Report:
    """Judge a run and put together what a reader gets.

    Raises:
        RecordError: The plan, the provenance or a record is missing or damaged.
    """
    plan = run.load_plan()
    records = list(run.records(plan))
    facts = run.facts(plan)
    plan = with_resolved_repeats(plan, facts)

    def answers(record: Record) -> list[Answer]:
        return read_answers(_cell_of(run, record).root)

    judgement = judge(
        plan,
        records,
        answers,
        facts,
        lambda record: _trails(_cell_of(run, record)),
    )
    problems = [(record, problem_of(record)) for record in records]
    return Report(
        plan=plan,
        judgement=judgement,
        pairings=pairings(plan, records, answers),
        caveats=caveats(plan),
        failures=[failure_of(record, *problem) for record, problem in problems if problem],
        not_checked=not_checked(plan, judgement),
        provenance=run.load_provenance(),
        started_at=min((record.started_at for record in records), default=""),
        ended_at=max((record.ended_at for record in records), default=""),
        records=len(records),
    )


def write(run: RunFolder) -> Report:
    """Build the report and write report.json, .md and .html, junit.xml and flips.jsonl."""
    report = build(run)
    write_json(run.report_json, report.document())
    write_atomic(run.report_md, render_markdown(report))
    write_atomic(run.report_html, render_html(report))
    write_atomic(run.junit, junit_xml(report.judgement, report.plan.experiment))
    write_atomic(run.flips, flip_lines(report.pairings))
    return report


def _cell_of(run: RunFolder, record: Record) -> CellFolder:
    return run.launch(record.launch).cell(record.job)


def _trails(cell: CellFolder) -> list[Trail]:
    try:
        return read_trails(cell.logprobs)
    except DataError as error:
        raise RecordError(str(error)) from error
