"""When a run is stopped, and what of a trace may leave a host."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from scripts.gpu_smoke.timed_run import enough, newest, started
from scripts.gpu_smoke.trim_nsys import trim


def test_a_launch_that_ends_in_time_is_begun_and_a_later_one_is_not() -> None:
    assert enough(now=100.0, until=215.0, launch=115.0)
    assert not enough(now=100.1, until=215.0, launch=115.0)


def test_launches_are_counted_by_events_and_a_half_written_line_is_none(tmp_path: Path) -> None:
    names = ("run_started", "launch_started", "launch_finished", "launch_started")
    lines = [json.dumps({"event": name}) for name in names]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, '{"event": "launch_st']))
    assert started(tmp_path) == 2
    assert started(None) == 0


def test_the_newest_run_is_the_one_with_a_plan(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for name in ("20260101T000000Z-aa", "20260102T000000Z-bb", "20260103T000000Z-cc"):
        (tmp_path / name).mkdir()
    for name in ("20260101T000000Z-aa", "20260102T000000Z-bb"):
        (tmp_path / name / "plan.json").write_text("{}")
    assert newest(tmp_path) == tmp_path / "20260102T000000Z-bb"


def test_only_named_strings_and_no_environment_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    with sqlite3.connect(source) as base:
        base.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
        rows = [(1, "kernel"), (2, "SECRET=1")]
        base.executemany("INSERT INTO StringIds VALUES (?, ?)", rows)
        base.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, shortName INTEGER)")
        base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (7, 1)")
        base.execute("CREATE TABLE TARGET_INFO_SYSTEM_ENV (name TEXT, value TEXT)")
        base.execute("INSERT INTO TARGET_INFO_SYSTEM_ENV VALUES ('SECRET', '1')")
    base.close()
    assert trim(source, target) == {"CUPTI_ACTIVITY_KIND_KERNEL": 1, "StringIds": 1}
    assert b"SECRET" not in target.read_bytes()
    with pytest.raises(FileExistsError, match="is there already"):
        trim(source, target)
