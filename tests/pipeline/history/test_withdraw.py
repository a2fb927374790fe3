"""A night that was accepted wrongly: what it may not do, and how it is taken back."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.gate.model import Verdict
from pipeline.history.judge import Rules
from pipeline.history.nightly import NotAccepted, accept_runs, judge_run
from pipeline.history.store import History
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError
from tests.pipeline.history.nights import make_night


def command(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in args], catch_exceptions=False)


def accept(history: History, *folders: RunFolder, pin: str = "") -> None:
    accept_runs(folders, history, Rules(), pin=pin, reason="good", who="tester")


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pin of three nights and four after it."""
    home = tmp_path_factory.mktemp("withdraw")
    history = History(home / "history.sqlite")
    accept(history, *[make_night(number, home) for number in range(3)], pin="release")
    for number in range(3, 7):
        accept(history, make_night(number, home))
    return home


@pytest.fixture
def history(seven: Path, tmp_path: Path) -> History:
    shutil.copytree(seven, tmp_path, dirs_exist_ok=True)
    return History(tmp_path / "history.sqlite")


def test_a_night_that_is_too_fast_is_improved_and_needs_a_pin(
    history: History, tmp_path: Path
) -> None:
    fast = make_night(7, tmp_path, speed=lambda *_: 1 / 1.3)
    judgement = judge_run(fast, history, Rules())
    itl = [check for check in judgement.checks if check.metric == "median_itl_ms"]
    assert {check.verdict for check in itl} == {Verdict.IMPROVED}
    assert all(check.ahead for check in itl)
    assert judgement.exit_code == 0
    with pytest.raises(NotAccepted, match="better by more than the margin"):
        accept(history, fast)
    accept(history, fast, pin="faster on purpose")


def test_a_withdrawn_pin_gives_the_one_before_it_back(history: History, tmp_path: Path) -> None:
    bogus = make_night(7, tmp_path, speed=lambda *_: 1 / 30)
    accept(history, bogus, pin="bogus")
    normal = make_night(8, tmp_path)
    lost = judge_run(normal, history, Rules())
    assert (lost.pin, lost.verdict) == ("bogus", Verdict.INCONCLUSIVE)
    shutil.rmtree(bogus.root)
    done = command(
        "accept", bogus.root, "--withdraw", "--reason", "clock ran slow", "--by", "ada",
        "--history", history.path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    judgement = judge_run(normal, history, Rules())
    assert (judgement.pin, judgement.verdict) == ("release", Verdict.PASS)
    # an entry, not an erasure
    taken = history.acceptances("made-up")[-1]
    assert (taken.pin, taken.withdrawn, taken.withdrawn_by) == ("bogus", "clock ran slow", "ada")
    page = tmp_path / "history.html"
    shown = command("history", "--history", history.path, "--html", page, "--json")
    told = json.loads(shown.output)["experiments"][0]["acceptances"][-1]
    assert told["withdrawn"] == "clock ran slow"
    assert "clock ran slow" in page.read_text(encoding="utf-8")
    assert "clock ran slow" in command("history", "--history", history.path).output


def test_a_withdrawn_rolling_night_is_no_baseline_and_one_of_a_pin_breaks_it(
    history: History, tmp_path: Path
) -> None:
    nights = history.nights("made-up")
    history.withdraw(nights[5], "noisy neighbour", "ada")
    judgement = judge_run(make_night(8, tmp_path), history, Rules())
    rolling = next(check for check in judgement.checks if check.baseline == "rolling")
    assert nights[5].run not in rolling.nights
    assert len(rolling.nights) == 6
    history.withdraw(nights[1], "noisy neighbour", "ada")
    judgement = judge_run(make_night(9, tmp_path), history, Rules())
    assert judgement.pin == ""
    assert judgement.verdict is Verdict.MISSING


def test_what_is_no_baseline_cannot_be_withdrawn(history: History, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is no baseline"):
        history.withdraw(history.add_night(history.nights("made-up")[0].model_copy(
            update={"run": "other"})), "x", "ada")  # fmt: skip
    done = command(
        "accept", tmp_path / "none", "--withdraw", "--reason", "x", "--history", history.path
    )
    assert done.exit_code == 2
    assert "none is no accepted night" in done.output
    done = command("accept", tmp_path, "--withdraw", "--reason", "x", "--pin", "release")
    assert done.exit_code == 2


def test_a_withdrawal_stays_and_an_old_file_gets_them(history: History) -> None:
    base = sqlite3.connect(history.path)
    for statement in ("DROP TABLE withdrawals", "PRAGMA user_version = 1"):
        base.execute(statement)  # as the first form left it
    base.close()
    old = history.acceptances("made-up")
    assert [one.withdrawn for one in old] == [""] * 7
    history.withdraw(history.nights("made-up")[6], "bogus", "ada")
    assert [one.withdrawn for one in history.acceptances("made-up")] == [""] * 6 + ["bogus"]
    base = sqlite3.connect(history.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        base.execute("DELETE FROM withdrawals")
    base.close()
