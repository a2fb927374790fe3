"""When a run is stopped, and which one is gone on with."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.gpu_smoke.timed_run import enough, newest, started


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
