"""The report of a run: built from its records alone, the same bytes each time."""

from __future__ import annotations

from evals.files import DataError
from evals.job import Answer
from evals.logprobs.trails import Trail, read_trails
from pipeline.compare.text import flip_lines
from pipeline.gate import judge
from pipeline.gate.evidence import Marked, problem_of
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

    answers = _AnswerReader(run)
    # First, since it needs whole answers, and the judgement only what is kept of them.
    paired = pairings(plan, records, answers.whole)
    judgement = judge(
        plan,
        records,
        answers.marked,
        facts,
        lambda record: _trails(_cell_of(run, record)),
    )
    problems = [(record, problem_of(record)) for record in records]
    return Report(
        plan=plan,
        judgement=judgement,
        pairings=paired,
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


class _AnswerReader:
    """Reads each file of answers once, and keeps of them what is judged: texts fill a memory."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._marked: dict[str, list[Marked]] = {}
        self._shared: dict[Marked, Marked] = {}

    def whole(self, record: Record) -> list[Answer]:
        """A record's answers.

        Raises:
            RecordError: They are missing or damaged.
        """
        answers = read_answers(_cell_of(self._run, record).root)
        each = (Marked(one.id, one.mark) for one in answers)
        self._marked[record.cell] = [self._shared.setdefault(one, one) for one in each]
        return answers

    def marked(self, record: Record) -> list[Marked]:
        """Their marks; raises as `whole` does."""
        if record.cell not in self._marked:
            self.whole(record)
        return self._marked[record.cell]


def _cell_of(run: RunFolder, record: Record) -> CellFolder:
    return run.launch(record.launch).cell(record.job)


def _trails(cell: CellFolder) -> list[Trail]:
    try:
        return read_trails(cell.logprobs)
    except DataError as error:
        raise RecordError(str(error)) from error
