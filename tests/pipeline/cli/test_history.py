from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.history.store import History
from tests.pipeline.history.nights import make_night


def command(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in args], catch_exceptions=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_night(0, tmp_path / "runs").root


def test_accept_logs_reason_name_and_pin_beside_the_runs(run: Path, tmp_path: Path) -> None:
    done = command("accept", run, "--pin", "release", "--reason", "as shipped", "--by", "ada")
    assert done.exit_code == 0
    assert "accepted as pinned baseline release" in done.output
    (made,) = History(tmp_path / "runs" / "history.sqlite").acceptances("made-up")
    assert (made.pin, made.reason, made.accepted_by) == ("release", "as shipped", "ada")
    again = command("accept", run, "--pin", "release", "--reason", "again")
    assert again.exit_code == 2
    assert "a pin never moves" in again.output


def test_accept_says_every_reason_for_which_it_refuses(run: Path) -> None:
    done = command("accept", run, "--reason", " ")
    assert done.exit_code == 3
    assert "refused: a reason is needed" in done.output
    assert "refused: there is no pinned baseline yet" in done.output


def test_gate_against_history_is_one_document_and_its_exit_code(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kept" / "h.sqlite"
    done = command("gate", run, "--against-history", "--history", elsewhere, "--json")
    document = json.loads(done.output)
    assert done.exit_code == document["exit_code"] == 3
    assert document["verdict"] == "missing"
    assert document["own_verdict"] == "pass"
    (logged,) = History(elsewhere).judgements("made-up")
    assert logged.verdict == "missing"
    # the run's own gate stays as it was
    assert command("gate", run).exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pin", "release"], "--pin, --may-change and --history are for --against-history"),
        (["--against-history", "--may-change", "machine"], "Invalid value for '--may-change'"),
        (["--against-history", "--pin", "x"], "no pinned baseline 'x'"),
    ],
)
def test_wrong_usage_is_refused(run: Path, words: list[str], told: str) -> None:
    done = command("gate", run, *words)
    assert done.exit_code == 2
    assert told in done.output


def test_a_history_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    done = command("history", "--history", tmp_path / "none.sqlite")
    assert done.exit_code == 2
    assert "is not there" in done.output
