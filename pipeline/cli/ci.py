"""What `servegate gate` leaves for a CI system: JUnit XML, and what GitHub Actions shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.history.ci import night_annotations, night_junit, night_summary
from pipeline.history.model import NightJudgement
from pipeline.records.record import write_atomic
from pipeline.report.build import Report
from pipeline.report.ci import annotation_lines, junit_xml, summary
from pipeline.report.render import render_markdown

__all__ = ["Github", "Junit", "tell_ci"]

Junit = Annotated[
    Path | None, typer.Option("--junit", help="Write the verdicts here, too, as JUnit XML.")
]
Github = Annotated[
    bool,
    typer.Option(
        "--github",
        help="Print annotations and append to $GITHUB_STEP_SUMMARY; on where GITHUB_ACTIONS is "
        "true. With --json the document stays alone on stdout.",
    ),
]


def tell_ci(
    made: Report,
    junit: Path | None,
    *,
    github: bool,
    printed: bool,
    night: NightJudgement | None = None,
) -> None:
    """Write what was asked for; annotations go to stdout, where GitHub's runner looks for them.

    Args:
        made: The report.
        junit: Where the XML goes; None: nowhere.
        github: Whether GitHub was asked for; it is told, too, where it is the one that runs this.
        printed: Whether stdout may hold annotations.
        night: What the accepted nights say of it, where it was held against them.
    """
    if junit is not None:
        own = made.judgement
        name = made.plan.experiment
        text = junit_xml(own, name) if night is None else night_junit(night, own, name)
        write_atomic(junit, text)
    if not github and os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if printed:
        own_lines = annotation_lines(made.judgement)
        for line in own_lines if night is None else night_annotations(night, own_lines):
            print(line)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            if night is not None:
                file.write(night_summary(night))
            file.write(summary(render_markdown(made)))
