"""The nightly's commands: `servegate accept`, `servegate history`, and the gate against history."""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline import exit_codes
from pipeline.cli.ci import tell_ci
from pipeline.cli.console import endings, refuse, stderr, stdout
from pipeline.history.chart import history_page
from pipeline.history.judge import Rules
from pipeline.history.model import NightJudgement
from pipeline.history.nightly import (
    NotAccepted,
    accept_runs,
    default_history,
    judged,
    withdraw_runs,
)
from pipeline.history.show import document, judgement_lines, read_history, show_history
from pipeline.history.store import History
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError, write_atomic

__all__ = ["Change", "HistoryFile", "MayChange", "accept", "against_history", "history"]


class Change(StrEnum):
    """What a nightly may have under test; all else that must not change stays forbidden."""

    DRIVER = "driver"
    SGLANG = "sglang"


HistoryFile = Annotated[
    Path | None,
    typer.Option("--history", help="The history; default: history.sqlite beside the runs."),
]
MayChange = Annotated[
    list[Change] | None,
    typer.Option(
        "--may-change",
        help="What is under test and may differ from the accepted nights. Repeatable.",
    ),
]


def accept(
    run_folders: Annotated[
        list[Path],
        typer.Argument(help="A run folder, runs/EXPERIMENT/STAMP-HASH; with --pin also several."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept for good.")],
    pin: Annotated[
        str | None,
        typer.Option("--pin", help="Make it the pinned baseline of this name; it never moves."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who; default: the user's name.")] = None,
    withdraw: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--withdraw",
            help="Take an accepted run back, as a further entry; its folder may be gone.",
        ),
    ] = False,
    may_change: MayChange = None,
    history_file: HistoryFile = None,
) -> None:
    """Make a run a baseline of later nights. Refused for whatever is doubtful, with exit code 3.

    Several runs make one pinned baseline, whose own noise is then less.

    Example: servegate accept runs/fake/20260101T000000Z-0a1b2c3d --reason "release 0.5.23"
    """
    with endings():
        if pin is not None and not pin.strip():
            refuse(["--pin needs a name"])
        if withdraw and (pin is not None or may_change):
            refuse(["--withdraw takes back whatever the run was accepted as: no --pin, no others"])
        store = History(history_file or default_history(run_folders[0]))
        who = by or _user()
        try:
            if withdraw:
                for one in withdraw_runs(run_folders, store, reason=reason, who=who):
                    kind = f"pinned baseline {one.pin}" if one.pin else "rolling baseline"
                    stdout().print(
                        f"withdrawn as {kind}: night {one.night} ({store.path})", markup=False
                    )
                return
            accept_runs(
                [RunFolder(folder) for folder in run_folders],
                store,
                _rules(may_change),
                pin=(pin or "").strip(),
                reason=reason,
                who=who,
            )
        except NotAccepted as error:
            for problem in error.problems:
                stderr().print(f"refused: {problem}", markup=False)
            raise typer.Exit(exit_codes.CANNOT_VOUCH) from error
        kind = f"pinned baseline {pin.strip()}" if pin else "rolling baseline"
        for folder in run_folders:
            stdout().print(f"accepted as {kind}: {folder} ({store.path})", markup=False)


def history(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(help="Metrics to show, as median_itl_ms score; default: what is gated."),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Only this one; default: all.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Nights to show.")] = 60,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page that needs nothing else.")
    ] = None,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
    history_file: Annotated[Path, typer.Option("--history", help="The history.")] = Path(
        "runs/history.sqlite"
    ),
) -> None:
    """Show what the nights measured, where it changed, and what changed with it.

    Example: servegate history median_itl_ms --experiment fake --html history.html
    """
    with endings():
        if not history_file.exists():
            raise RecordError(
                f"{history_file}: is not there; servegate run --nightly or accept makes it"
            )
        found = read_history(History(history_file), metrics or [], experiment, last)
        if html is not None:
            write_atomic(html, history_page(found))
        if as_json:
            print(document(found))
        else:
            show_history(found, stdout())
            if html is not None:
                stdout().print(f"page: {html}", markup=False)


def against_history(
    folder: RunFolder,
    history_file: Path | None,
    may_change: list[Change] | None,
    *,
    pin: str | None = None,
    as_json: bool = False,
    junit: Path | None = None,
    github: bool | None = None,
) -> NightJudgement:
    """Judge a run against the accepted nights, log it, and print what was found.

    Args:
        folder: The run.
        history_file: The history; None: beside the runs.
        may_change: What is under test.
        pin: Name of the pinned baseline; None: the newest.
        as_json: Print one document.
        junit: Where JUnit XML goes; None: nowhere.
        github: Whether GitHub was asked for; None: no CI is told.
    """
    store = History(history_file or default_history(folder.root))
    tonight, judgement = judged(folder, store, _rules(may_change), pin=pin)
    if as_json:
        print(judgement.model_dump_json(indent=2))
    else:
        for line in judgement_lines(judgement):
            stdout().print(line, markup=False)
    if github is not None:
        tell_ci(tonight.report, junit, github=github, printed=not as_json, night=judgement)
    return judgement


def _rules(may_change: list[Change] | None) -> Rules:
    return Rules(may_change=tuple(change.value for change in may_change or []))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
