"""`servegate gate`: judge a run, for a person, a script, or GitHub Actions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pipeline.ci.github import annotations, summary
from pipeline.ci.junit import junit_xml
from pipeline.cli_run import print_verdict
from pipeline.console import endings, stdout
from pipeline.records import write_atomic
from pipeline.report import Report, build
from pipeline.report.render import render_markdown
from pipeline.run_folder import RunFolder

__all__ = ["gate"]


def gate(
    run_folder: Annotated[Path, typer.Argument(help="A run folder, runs/EXPERIMENT/STAMP-HASH.")],
    junit: Annotated[
        Path | None,
        typer.Option("--junit", help="Write the verdicts here, too, as JUnit XML."),
    ] = None,
    github: Annotated[  # noqa: FBT002 - typer's way to a flag
        bool,
        typer.Option(
            "--github",
            help="Print annotations and append to $GITHUB_STEP_SUMMARY; on where GITHUB_ACTIONS "
            "is set. Not with --json, whose document stays alone on stdout.",
        ),
    ] = False,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Judge a run from its records; the exit code is the verdict.

    Example: servegate gate runs/fake/20260101T000000Z-0a1b2c3d --junit junit.xml
    """
    with endings():
        made = build(RunFolder(run_folder))
        if as_json:
            print(json.dumps(made.verdict_document(), indent=2))
        else:
            print_verdict(made.judgement)
            stdout().print(f"verdict: {made.judgement.verdict.value}")
        if junit is not None:
            write_atomic(junit, junit_xml(made.judgement, made.plan.experiment))
        if github or os.environ.get("GITHUB_ACTIONS") == "true":
            _tell_github(made, os.environ, printed=not as_json)
        raise typer.Exit(made.judgement.exit_code)


def _tell_github(made: Report, environ: Mapping[str, str], *, printed: bool) -> None:
    """Annotations on stdout, where the runner looks for them; the summary in its file."""
    if printed:
        for line in annotations(made.judgement):
            print(line)
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(summary(render_markdown(made)))
