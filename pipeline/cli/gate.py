"""`servegate gate`: the verdict of a run as an exit code."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.cli.ci import Github, Junit, tell_ci
from pipeline.cli.console import endings, refuse, stdout
from pipeline.cli.history import HistoryFile, MayChange, against_history
from pipeline.cli.options import (
    AsJson,
    RunPath,
)
from pipeline.cli.run import (
    print_verdict,
)
from pipeline.records.folder import RunFolder
from pipeline.report.build import build


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
