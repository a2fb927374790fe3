"""`servegate schema`: the JSON Schema of experiment files and of report.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.experiment.schema import schema_text
from pipeline.records.record import write_atomic
from pipeline.report.schema import report_schema_text


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
