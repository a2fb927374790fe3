"""The command line: the app, which knows its commands."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from pipeline import exit_codes
from pipeline.cli.compare import compare
from pipeline.cli.doctor import doctor
from pipeline.cli.gate import gate
from pipeline.cli.history import accept, history
from pipeline.cli.plan import plan
from pipeline.cli.power import power
from pipeline.cli.prepare_model import prepare_model
from pipeline.cli.report import report
from pipeline.cli.repro import repro
from pipeline.cli.run import run
from pipeline.cli.schema import schema
from pipeline.cli.selftest import selftest
from pipeline.cli.trace import trace


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

# Help lists the commands in this order.
for _command in (
    doctor,
    power,
    compare,
    trace,
    selftest,
    repro,
    accept,
    history,
    plan,
    run,
    report,
    gate,
    schema,
):
    app.command()(_command)
app.command("prepare-model")(prepare_model)
