"""What of an nsys export leaves a host: what servegate reads, and nothing of the host."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scripts.gpu_smoke.small_nsys import nsys

_EXPORT = """
CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
INSERT INTO StringIds VALUES (1, 'k'), (2, 'cudaGraphLaunch_v10000'), (3, 'cudaFree'),
  (4, 'SECRET=1');
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, "end" INTEGER, deviceId INTEGER,
  streamId INTEGER, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER,
  graphNodeId INTEGER, gridX INTEGER);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (10, 12, 0, 7, 5, 1, 1, 9, 64);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (2, 3, 0, 7, 4, 1, 1, 9, 64);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (13, 14, 0, 7, 6, 1, 1, NULL, 64);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (globalTid INTEGER, correlationId INTEGER,
  nameId INTEGER, returnValue INTEGER);
INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (1, 5, 2, 0), (1, 6, 3, 0);
CREATE TABLE DIAGNOSTIC_EVENT (text TEXT, severity INTEGER);
INSERT INTO DIAGNOSTIC_EVENT VALUES ('Number of events dropped: 7', 1), ('Events were Lost', 2),
  ('Process 12 was launched by SECRET', 1);
CREATE TABLE TARGET_INFO_SYSTEM_ENV (name TEXT, value TEXT);
INSERT INTO TARGET_INFO_SYSTEM_ENV VALUES ('SECRET', '1');
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite"
    with opened(path) as base:
        base.executescript(_EXPORT)
    return path


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as base:
        yield base
        base.commit()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with opened(path) as base:
        return base.execute(query).fetchall()


def test_the_columns_and_names_that_are_read_stay(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "b" / "b.sqlite"
    nsys(source, target, last=1)
    assert {name for (name,) in rows(target, "SELECT name FROM sqlite_master")} == {
        "StringIds", "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME",
        "DIAGNOSTIC_EVENT",
    }  # fmt: skip
    kernels = rows(target, "SELECT * FROM CUPTI_ACTIVITY_KIND_KERNEL")
    assert kernels == [(10, 12, 0, 7, 5, 1, 1, 1)]
    names = rows(target, "SELECT value FROM StringIds ORDER BY id")
    assert names == [("k",), ("cudaGraphLaunch_v10000",)]
    assert rows(target, "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME") == [(5,)]


def test_no_environment_stays_and_of_messages_only_what_was_lost(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.sqlite"
    nsys(source, target)
    assert b"SECRET" in source.read_bytes()
    assert b"SECRET" not in target.read_bytes()
    assert rows(target, "SELECT text FROM DIAGNOSTIC_EVENT") == [
        ("Number of events dropped: 7",), ("Events were Lost",)
    ]  # fmt: skip
    assert len(rows(target, "SELECT 1 FROM CUPTI_ACTIVITY_KIND_KERNEL")) == 3


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.gpu_smoke.small_nsys", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_keeps_the_last_replays_and_says_why_it_cannot(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.sqlite"
    assert command(source, target, "--last", 1).returncode == 0
    assert rows(target, "SELECT start FROM CUPTI_ACTIVITY_KIND_KERNEL") == [(10,)]
    again = command(source, target)
    assert (again.returncode, again.stderr) == (
        1, f"refused: {target}: is there already; name another file\n"
    )  # fmt: skip
    gone = command(tmp_path / "none.sqlite", tmp_path / "c.sqlite")
    assert (gone.returncode, gone.stderr) == (
        1, f"refused: {tmp_path / 'none.sqlite'}: is not there\n"
    )  # fmt: skip
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "text.sqlite").write_text("no database " * 100)
    bad = command(tmp_path / "text.sqlite", tmp_path / "d.sqlite")
    assert bad.returncode == 1
    assert f"{tmp_path / 'text.sqlite'}: is no export to be read" in bad.stderr
