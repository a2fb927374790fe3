"""The command line: the app and the commands that run, report and judge."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline import exit_codes
from pipeline.cli.ci import Github, Junit, tell_ci
from pipeline.cli.compare import compare
from pipeline.cli.console import endings, refuse, say, stderr, stdout
from pipeline.cli.doctor import doctor
from pipeline.cli.history import HistoryFile, MayChange, accept, against_history, history
from pipeline.cli.options import (
    AllowImpossible,
    AsJson,
    EngineOption,
    ExperimentFile,
    Overrides,
    RunPath,
    VarianceFrom,
)
from pipeline.cli.power import known_basis, power
from pipeline.cli.prepare import for_this_machine, planned
from pipeline.cli.prepare_model import prepare_model
from pipeline.cli.repro import repro
from pipeline.cli.run import (
    finish,
    impossible_hint,
    lacking_here,
    new_run,
    print_verdict,
    unsupported_notes,
)
from pipeline.cli.selftest import selftest
from pipeline.cli.trace import trace
from pipeline.experiment.schema import schema_text
from pipeline.plan.text import plan_lines
from pipeline.power import launch_lines, speed_powers
from pipeline.preflight.checks import preflight
from pipeline.records.folder import RunFolder
from pipeline.records.record import write_atomic
from pipeline.report.build import build, write
from pipeline.report.published import report_published
from pipeline.report.schema import report_schema_text
from pipeline.run.loop import execute
from pipeline.run.progress import display

__all__ = ["app"]


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own context; what a command returns
        """Run a command; Typer takes these for a user's Ctrl-D and a reader that has gone."""
        try:
            return super().invoke(ctx)
        except (EOFError, OSError) as error:
            raise exit_codes.UnforeseenError(error) from error


app = typer.Typer(
    name="servegate",
    cls=_Commands,
    help="Accuracy and speed regression gate for serving changes. Exit codes: 0 pass, 1 regressed, "
    "2 bad spec or usage, 3 cannot vouch (inconclusive, invalid, missing), 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(doctor)
app.command()(power)
app.command()(compare)
app.command()(trace)
app.command()(selftest)
app.command()(repro)
app.command()(accept)
app.command()(history)


class ExitBy(StrEnum):
    """What the exit code of ``run`` says."""

    VERDICT = "verdict"
    RECORDS = "records"


@app.command()
def plan(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    engine: EngineOption = None,
    allow_impossible: AllowImpossible = False,  # noqa: FBT002 - typer's way to a flag
    variance_from: VarianceFrom = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Print every launch of an experiment: command line, environment, jobs. Starts nothing.

    And how many launches each gate on a speed needs, by what a run showed or what is assumed.

    Example: servegate plan experiments/fake.yaml --set launches=2 --json
    """
    with endings():
        spec, made = planned(experiment, overrides, engine)
        found = preflight(made, spec, say=say, allow_impossible=allow_impossible)
        if found.wrong:
            problems = [f"{experiment}: {text}" for text in found.wrong]
            refuse([*problems, *impossible_hint(found)])
        made = found.known(made)
        here = for_this_machine(made, Path("runs"), os.environ)
        lacking = lacking_here(found, here)
        notes = list(found.notes)
        if as_json:
            print(json.dumps(made.model_dump(mode="json"), indent=2))
            notes = [*(f"cannot run here: {text}" for text in lacking), *notes]
        else:
            basis, assumed = known_basis(spec, variance_from)
            needs = launch_lines(speed_powers(spec, basis), spec.alpha)
            for line in [*plan_lines(made, lacking), *needs]:
                stdout().print(line, markup=False)
            notes += assumed
        if not all(launch.unsupported for launch in here.launches):
            notes += unsupported_notes(here)
        for note in notes:
            stderr().print(f"note: {note}", markup=False)


@app.command()
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


@app.command()
def report(
    run_folder: Annotated[
        Path | None,
        typer.Argument(help="A run folder, runs/EXPERIMENT/STAMP-HASH; not with --external."),
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option("--external", help="Report figures that somebody published: a YAML file."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the report of --external goes.")] = Path(
        "runs"
    ),
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Write report.html, .md and .json, flips.jsonl and junit.xml anew, from records alone.

    Example: servegate report runs/fake/20260101T000000Z-0a1b2c3d --json
    """
    with endings():
        if (run_folder is None) == (external is None):
            refuse(["give either a run folder or --external FILE"])
        if external is not None:
            report_published(external, out, as_json=as_json)
            return
        assert run_folder is not None  # one of the two is given
        folder = RunFolder(run_folder)
        made = write(folder)
        if as_json:
            print(folder.report_json.read_text(encoding="utf-8"), end="")
            return
        print_verdict(made.judgement)
        for path in (folder.report_html, folder.report_md, folder.report_json):
            stdout().print(f"report: {path}", markup=False)


@app.command()
def gate(  # noqa: PLR0913, PLR0917 - typer makes an option of each
    run_folder: RunPath,
    junit: Junit = None,
    github: Github = False,  # noqa: FBT002
    against: Annotated[  # noqa: FBT002
        bool, typer.Option("--against-history", help="Judge it against the accepted nights.")
    ] = False,
    pin: Annotated[
        str | None, typer.Option("--pin", help="The pinned baseline; default: the newest.")
    ] = None,
    may_change: MayChange = None,
    history_file: HistoryFile = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Judge a run from its records; the exit code is the verdict.

    Example: servegate gate runs/fake/20260101T000000Z-0a1b2c3d
    """
    with endings():
        if against:
            judged = against_history(
                RunFolder(run_folder),
                history_file,
                may_change,
                pin=pin,
                as_json=as_json,
                junit=junit,
                github=github,
            )
            if not as_json:
                stdout().print(f"verdict: {judged.verdict.value}")
            raise typer.Exit(judged.exit_code)
        if pin is not None or may_change or history_file is not None:
            refuse(["--pin, --may-change and --history are for --against-history"])
        made = build(RunFolder(run_folder))
        if as_json:
            print(json.dumps(made.verdict_document(), indent=2))
        else:
            print_verdict(made.judgement)
            stdout().print(f"verdict: {made.judgement.verdict.value}")
        tell_ci(made, junit, github=github, printed=not as_json)
        raise typer.Exit(made.judgement.exit_code)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="Write here, not to stdout.")] = None,
    report: Annotated[  # noqa: FBT002
        bool, typer.Option("--report", help="That of report.json instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of experiment files, or of report.json.

    Example: servegate schema --out experiments/schema.json
    """
    text = report_schema_text() if report else schema_text()
    if out is None:
        print(text, end="")
    else:
        write_atomic(out, text)


# Last, since help lists the commands in this order.
app.command("prepare-model")(prepare_model)
