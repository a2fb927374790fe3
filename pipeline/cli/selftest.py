"""`servegate selftest`: does every gate fire when it must, and only then?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evals.metrics import METRICS
from pipeline.cli.console import endings, stdout
from pipeline.records.folder import RunFolder
from pipeline.selftest import Outcome, SelfTest, from_run, self_test, shipped
from pipeline.selftest.stored import COLUMNS

__all__ = ["selftest"]


def selftest(
    run_folder: Annotated[
        Path | None,
        typer.Argument(help="Use this run's records, gates and layouts; else those shipped."),
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - typer's way to a flag
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Inject faults into stored records and prove that each gate fires, and that A/A does not.

    Exit code 3 where any verdict is not as expected. Example: servegate selftest --json
    """
    with endings():
        stored = shipped() if run_folder is None else from_run(RunFolder(run_folder))
        found = self_test(stored)
        if as_json:
            print(found.model_dump_json(indent=2))
        else:
            _show(found, stdout())
        raise typer.Exit(found.exit_code)


def _show(found: SelfTest, out: Console) -> None:
    matrix = [one for one in found.outcomes if one.column is not None]
    rest = [one for one in found.outcomes if one.column is None]
    if matrix:
        out.print(_matrix(matrix))
    out.print(_cases(rest))
    for text in found.left_out:
        out.print(f"not tested: {text}", markup=False)
    for one in found.unexpected():
        what = f"{one.job} {one.metric} {one.name}".strip()
        out.print(f"unexpected: {what}: {one.injected}: {'; '.join(one.problems)}", markup=False)
    good = len(found.outcomes) - len(found.unexpected())
    out.print(
        f"{'✓' if found.ok else '✗'} {good} of {len(found.outcomes)} cases as expected "
        f"({found.source})",
        markup=False,
    )


def _matrix(outcomes: Sequence[Outcome]) -> Table:
    """Found verdicts, gate by injection; each with what was expected where it is another."""
    cells = {(one.job, one.metric, one.column): one for one in outcomes}
    table = Table(title="gate x injection: the verdict found", title_justify="left")
    table.add_column("gate")
    for column in COLUMNS:
        table.add_column(column)
    for job, metric in dict.fromkeys((one.job, one.metric) for one in outcomes):
        table.add_row(
            f"{job} {METRICS[metric].label}",
            *(_cell(cells.get((job, metric, column))) for column in COLUMNS),
        )
    return table


def _cases(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="further cases", title_justify="left")
    for name in ("case", "gate", "found"):
        table.add_column(name)
    for one in outcomes:
        label = METRICS[one.metric].label if one.metric else ""
        table.add_row(one.name, f"{one.job} {label}".strip(), _cell(one))
    return table


def _cell(outcome: Outcome | None) -> Text:
    if outcome is None:
        return Text("\N{EN DASH}")
    if outcome.ok:
        return Text(f"✓ {outcome.found}", style="green")
    return Text(f"✗ {outcome.found}, not {' or '.join(outcome.expected)}", style="bold red")
