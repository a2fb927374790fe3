from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.history.model import Night
from pipeline.history.store import History
from pipeline.records.record import RecordError


def night(run: str, *, verdict: str = "pass", started_at: str = "2026-11-01T00:00:00") -> Night:
    return Night(
        experiment="made-up", run=run, folder=run, started_at=started_at, plan_hash="0a1b2c3d",
        verdict=verdict, cells=[], facts=[],
    )  # fmt: skip


def test_the_same_night_is_kept_once_and_a_changed_one_beside_it(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite")
    first = history.add_night(night("one", verdict="missing"))
    assert history.add_night(night("one", verdict="missing")).id == first.id
    resumed = history.add_night(night("one"))
    assert resumed.id != first.id
    assert [found.verdict for found in history.nights("made-up")] == ["pass"]


def test_what_was_accepted_does_not_vanish_when_its_run_is_read_again(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite")
    first = history.add_night(night("one"))
    history.accept([first], "release", "good", "me")
    again = history.add_night(night("one", verdict="inconclusive"))
    assert again.id != first.id
    assert [found.id for found in history.nights("made-up")] == [first.id]


def test_nights_come_by_their_time_not_by_when_they_were_added(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite")
    history.add_night(night("late", started_at="2026-11-02T00:00:00"))
    history.add_night(night("early", started_at="2026-11-01T00:00:00"))
    assert [found.run for found in history.nights("made-up")] == ["early", "late"]
    assert history.nights("another") == []


@pytest.mark.parametrize("table", ["nights", "acceptances", "judgements"])
def test_the_file_itself_refuses_to_change_or_lose_a_row(tmp_path: Path, table: str) -> None:
    history = History(tmp_path / "history.sqlite")
    made = history.add_night(night("one"))
    history.accept([made], "", "good", "me")
    base = sqlite3.connect(history.path)
    base.execute(
        "INSERT INTO judgements (night, judged_at, verdict, document) VALUES (1, '', '', '')"
    )
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id + 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            base.execute(statement)
    base.close()


def test_a_pin_never_moves(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite")
    one, two = history.add_night(night("one")), history.add_night(night("two"))
    history.accept([one], "release", "as released", "me")
    with pytest.raises(RecordError, match="'release' of made-up already; a pin never moves"):
        history.accept([two], "release", "better numbers", "me")
    history.accept([one], "", "good", "me")
    with pytest.raises(RecordError, match="one is a rolling baseline already"):
        history.accept([one], "", "good", "me")
    found = history.acceptances("made-up")
    assert [(a.night, a.pin, a.reason) for a in found] == [
        (one.id, "release", "as released"),
        (one.id, "", "good"),
    ]


_WRITER = """
import sys
from pathlib import Path
from pipeline.history.model import Night
from pipeline.history.store import History
history = History(Path(sys.argv[1]))
for number in range(25):
    run = f"{sys.argv[2]}-{number:02d}"
    made = history.add_night(Night(experiment="made-up", run=run, folder=run, started_at=run,
        plan_hash="h", verdict="pass", cells=[], facts=[]))
    history.accept([made], "", "good", sys.argv[2])
"""


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"  # made by whoever comes first
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in ("a", "b")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    history = History(path)
    assert len(history.nights("made-up")) == 50
    assert len({accepted.night for accepted in history.acceptances("made-up")}) == 50


def test_a_file_of_another_version_or_kind_is_refused(tmp_path: Path) -> None:
    newer = History(tmp_path / "newer.sqlite")
    newer.add_night(night("one"))
    base = sqlite3.connect(newer.path)
    base.execute("PRAGMA user_version = 9")
    base.close()
    with pytest.raises(RecordError, match="schema version 9; this servegate reads 2"):
        newer.nights("made-up")
    other = tmp_path / "other.sqlite"
    base = sqlite3.connect(other)
    base.execute("CREATE TABLE songs (title)")
    base.close()
    with pytest.raises(RecordError, match="tables of something else"):
        History(other).nights("made-up")
    text = tmp_path / "text"
    text.write_text("no database, but long enough to be read as the header of one" * 40)
    with pytest.raises(RecordError, match="is no history of servegate"):
        History(text).add_night(night("one"))
