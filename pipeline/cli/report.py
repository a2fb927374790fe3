"""`servegate report`: the report anew from the records, or from published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import endings, refuse, stdout
from pipeline.cli.options import (
    AsJson,
)
from pipeline.cli.run import (
    print_verdict,
)
from pipeline.records.folder import RunFolder
from pipeline.report.build import write
from pipeline.report.published import report_published


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
