"""`servegate run`, and how a run begins and ends on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from evals.latency.client_load import LOAD_CLASSES
from pipeline import exit_codes
from pipeline.cli.console import endings, refuse, say, stderr, stdout
from pipeline.cli.history import HistoryFile, MayChange, against_history
from pipeline.cli.options import AllowImpossible, EngineOption, Overrides
from pipeline.cli.prepare import create, for_this_machine, planned
from pipeline.gate import Judgement
from pipeline.history.model import NightJudgement
from pipeline.plan.model import Plan
from pipeline.preflight.checks import Preflight, preflight
from pipeline.records.folder import RunFolder
from pipeline.records.record import Record, Status
from pipeline.report.build import write
from pipeline.report.terminal import terminal_reasons, terminal_table
from pipeline.run.loop import execute
from pipeline.run.progress import display

_NAMED = 4


class ExitBy(StrEnum):
    """What the exit code of ``run`` says."""

    VERDICT = "verdict"
    RECORDS = "records"


def run(  # noqa: PLR0913, PLR0917 - a parameter an option
    experiment: Annotated[
        Path | None, typer.Argument(help="The experiment's YAML file; not with --resume.")
    ] = None,
    overrides: Overrides = None,
    engine: EngineOption = None,
    allow_impossible: AllowImpossible = False,  # noqa: FBT002
    out: Annotated[Path, typer.Option("--out", help="Where run folders go.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on in this run folder where it stopped.")
    ] = None,
    exit_by: Annotated[
        ExitBy,
        typer.Option(
            "--exit-by",
            help="records: exit 0 when every record is ok, whatever the verdict; a job without "
            "gates may be invalid for the machine's load (demonstrations).",
        ),
    ] = ExitBy.VERDICT,
    nightly: Annotated[  # noqa: FBT002
        bool, typer.Option("--nightly", help="Judge it against the accepted nights, too.")
    ] = False,
    may_change: MayChange = None,
    history_file: HistoryFile = None,
) -> None:
    """Run an experiment and report. Exit code: that of its verdict.

    Example: servegate run experiments/fake.yaml --out runs
    """
    with endings():
        if (experiment is None) == (resume is None):
            refuse(["give either an experiment's file or --resume RUN"])
        if not nightly and (may_change or history_file is not None):
            refuse(["--may-change and --history are for --nightly"])
        if resume is not None:
            if overrides or engine:
                refuse(
                    ["--resume goes on with the run's own plan; --set and --engine are not for it"]
                )
            folder = RunFolder(resume)
            made = folder.load_plan()
        else:
            assert experiment is not None  # one of the two is given
            folder, made = new_run(
                experiment, overrides, engine, out, allow_impossible=allow_impossible
            )
        stdout().print(f"run folder: {folder.root}", markup=False)
        interrupted = False
        with display(made, stdout()) as shown:
            try:
                execute(made, folder, shown)
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            stderr().print(f"interrupted; go on with: servegate run --resume {folder.root}")
            raise typer.Exit(exit_codes.INTERRUPTED)
        finish(
            folder,
            by_records=exit_by is ExitBy.RECORDS,
            then=partial(against_history, folder, history_file, may_change) if nightly else None,
        )


def new_run(
    file: Path,
    overrides: list[str] | None,
    engine: str | None,
    runs: Path,
    *,
    allow_impossible: bool,
) -> tuple[RunFolder, Plan]:
    """Plan, look at this machine, and make a run folder; ends the command where that cannot be."""
    spec, made = planned(file, overrides, engine)
    found = preflight(made, spec, say=say, allow_impossible=allow_impossible)
    problems = [*found.wrong, *found.missing]
    if problems:
        refuse([f"{file}: {text}" for text in problems] + impossible_hint(found))
    made = for_this_machine(found.known(made), runs, os.environ)
    for note in [*found.notes, *unsupported_notes(made)]:
        stderr().print(f"note: {note}", markup=False)
    return create(file, made, runs, sys.argv, os.environ), made


def impossible_hint(found: Preflight) -> list[str]:
    """What to do where a gate that decides nothing is meant, behind the problems themselves."""
    if not found.impossible:
        return []
    return ["to run it all the same, with such gates left undecided: --allow-impossible"]


def unsupported_notes(made: Plan) -> list[str]:
    """Each reason once, with the launches that it concerns; the first few by name."""
    return [f"unsupported here: {text}" for text in _unsupported(made)]


def lacking_here(found: Preflight, here: Plan) -> list[str]:
    """Why this machine can run nothing of a plan, whose launches are marked for it; else empty."""
    nothing = all(launch.unsupported for launch in here.launches)
    return [*found.missing, *(_unsupported(here) if nothing else [])]


def _unsupported(made: Plan) -> list[str]:
    launches: dict[str, list[str]] = {}
    for launch in made.launches:
        if launch.unsupported:
            launches.setdefault(launch.unsupported, []).append(launch.id)
    return [f"{_named(ids, made)}: {why}" for why, ids in launches.items()]


def _named(ids: list[str], made: Plan) -> str:
    if len(ids) == len(made.launches):
        return f"all {len(ids)} launches"
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def print_verdict(judgement: Judgement) -> None:
    """The table of verdicts, and why a row is no pass."""
    console = stdout()
    # A log has no width; a table that is cut to a guessed one is unreadable.
    Console(width=None if console.is_terminal else 160).print(terminal_table(judgement))
    for line in terminal_reasons(judgement):
        console.print(line, markup=False)


def _only_busy(made: Plan, record: Record) -> bool:
    """Whether nothing but the machine's load keeps a record that no gate asks for from counting."""
    invalid = record.status is Status.INVALID and record.failure_class in LOAD_CLASSES
    return invalid and not made.gates.get(record.job)


def finish(
    folder: RunFolder, *, by_records: bool, then: Callable[[], NightJudgement] | None = None
) -> NoReturn:
    """Report, and end with the verdict's exit code.

    Args:
        folder: The run.
        by_records: End with 0 when every record is ok instead, whatever the verdict. A record of
            a job without gates may also be invalid for the load of the machine alone.
        then: Judges the run against the accepted nights; its verdict, which takes account of the
            run's own, is then the one that counts.
    """
    report = write(folder)
    console = stdout()
    console.print()
    print_verdict(report.judgement)
    for path in (folder.report_html, folder.report_md, folder.report_json):
        console.print(f"report: {path}", markup=False)
    console.print(
        f"verdict: {report.judgement.verdict.value} (gate exit code {report.judgement.exit_code})"
    )
    exit_code = report.judgement.exit_code
    if then is not None:
        judged = then()
        exit_code = judged.exit_code
        console.print(f"verdict of the night: {judged.verdict.value} (exit code {exit_code})")
    if not by_records:
        raise typer.Exit(exit_code)
    made = folder.load_plan()
    planned = sum(row.records.planned for row in report.judgement.rows)  # without what none needs
    records = list(folder.records(made))
    busy = [record for record in records if _only_busy(made, record)]
    good = sum(record.status is Status.OK for record in records)
    complete = len(records) == planned == good + len(busy)
    beside = f"; {len(busy)} invalid for the load of this machine, no gate on them" if busy else ""
    console.print(f"records: {good} of {planned} ok{beside}")
    raise typer.Exit(exit_codes.PASS if complete else exit_codes.CANNOT_VOUCH)
