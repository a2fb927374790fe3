"""The append-only store of nights: one SQLite file beside the runs, safe with two writers."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.history.model import Acceptance, Night, NightJudgement
from pipeline.records.record import RecordError

__all__ = ["SCHEMA_VERSION", "History", "Judged"]

_M = TypeVar("_M", bound=BaseModel)

# History of the file's format (PRAGMA user_version):
# 1: first form.
# 2: withdrawals. A file of version 1 is read as it is, and becomes one of 2 with the next write.
SCHEMA_VERSION = 2
_READ = (1, 2)

# "servegate" is no registered id; this one tells the file from any other SQLite database.
_APPLICATION_ID = 0x5356_4754

_TABLES = (
    """
CREATE TABLE nights (
  id INTEGER PRIMARY KEY AUTOINCREMENT, experiment TEXT NOT NULL, run TEXT NOT NULL,
  started_at TEXT NOT NULL, digest TEXT NOT NULL, recorded_at TEXT NOT NULL,
  document TEXT NOT NULL, UNIQUE (experiment, run, digest)
)""",
    """
CREATE TABLE acceptances (
  id INTEGER PRIMARY KEY AUTOINCREMENT, night INTEGER NOT NULL REFERENCES nights (id),
  experiment TEXT NOT NULL, pin TEXT NOT NULL, reason TEXT NOT NULL, accepted_by TEXT NOT NULL,
  accepted_at TEXT NOT NULL
)""",
    "CREATE UNIQUE INDEX once ON acceptances (experiment, pin, night)",
    """
CREATE TABLE judgements (
  id INTEGER PRIMARY KEY AUTOINCREMENT, night INTEGER NOT NULL REFERENCES nights (id),
  judged_at TEXT NOT NULL, verdict TEXT NOT NULL, document TEXT NOT NULL
)""",
)
_WITHDRAWALS = """
CREATE TABLE withdrawals (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  acceptance INTEGER NOT NULL UNIQUE REFERENCES acceptances (id), reason TEXT NOT NULL,
  withdrawn_by TEXT NOT NULL, withdrawn_at TEXT NOT NULL
)"""


def _append_only(*tables: str) -> list[str]:
    return [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
        f"SELECT RAISE(ABORT, 'the history is append-only'); END"
        for table in tables
        for verb in ("UPDATE", "DELETE")
    ]


# Longer than any writer holds the file: each writes a few rows.
_WAIT_S = 60.0


class Judged(NightJudgement):
    """A judgement that is in the store, with its night and time."""

    night: int
    judged_at: str


class History:
    """One history file; every method opens it, does one thing and closes it.

    Two processes may write at once: SQLite's write-ahead log, with writers that wait for each
    other. Rows are only ever added; triggers in the file itself refuse anything else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add_night(self, night: Night) -> Night:
        """Add a night; one that is there with the same content is given back as it is."""
        content = night.model_dump(mode="json", exclude={"id", "digest", "folder"})
        for cell in content["cells"]:
            if not cell["quarantine"]:  # nights of before there was such a key stay the same
                del cell["quarantine"]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        made = night.model_copy(update={"id": 0, "digest": digest})
        with self._write() as base:
            base.execute(
                "INSERT INTO nights (experiment, run, started_at, digest, recorded_at, document) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    made.experiment,
                    made.run,
                    made.started_at,
                    digest,
                    _now(),
                    made.model_dump_json(),
                ),
            )
            (number,) = base.execute(
                "SELECT id FROM nights WHERE experiment = ? AND run = ? AND digest = ?",
                (made.experiment, made.run, digest),
            ).fetchone()
        return made.model_copy(update={"id": number})

    def accept(self, nights: Sequence[Night], pin: str, reason: str, who: str) -> list[Acceptance]:
        """Log that nights of one experiment are a baseline from now on: all of them or none.

        Raises:
            RecordError: The pin's name is taken, or a night is a rolling baseline already.
        """
        now = _now()
        made: list[Acceptance] = []
        with self._write() as base:
            for night in nights:
                taken = base.execute(
                    "SELECT id FROM acceptances WHERE experiment = ? AND pin = ? "
                    "AND (pin <> '' OR night = ?)",
                    (night.experiment, pin, night.id),
                ).fetchall()
                if {number for (number,) in taken} - {one.id for one in made}:
                    raise RecordError(f"{self.path}: {_taken(night, pin)}")
                number = base.execute(
                    "INSERT INTO acceptances (night, experiment, pin, reason, accepted_by, "
                    "accepted_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (night.id, night.experiment, pin, reason, who, now),
                ).lastrowid
                assert number is not None  # an insert has one
                made.append(
                    Acceptance(
                        id=number,
                        night=night.id,
                        pin=pin,
                        reason=reason,
                        accepted_by=who,
                        accepted_at=now,
                    )
                )
        return made

    def withdraw(self, night: Night, reason: str, who: str) -> list[Acceptance]:
        """Log that a night is no baseline any more, whatever it was accepted as.

        A pin of several nights is whole or does not count: without one of them the pin before it
        counts again. Its other nights stay accepted.

        Returns:
            What was withdrawn.

        Raises:
            RecordError: The night is no baseline.
        """
        standing = [
            accepted
            for accepted in self.acceptances(night.experiment)
            if accepted.night == night.id and not accepted.withdrawn
        ]
        if not standing:
            raise RecordError(f"{self.path}: {night.run} is no baseline, so nothing is withdrawn")
        now = _now()
        with self._write() as base:
            base.executemany(
                "INSERT INTO withdrawals (acceptance, reason, withdrawn_by, withdrawn_at) "
                "VALUES (?, ?, ?, ?)",
                [(accepted.id, reason, who, now) for accepted in standing],
            )
        withdrawal = {"withdrawn": reason, "withdrawn_by": who, "withdrawn_at": now}
        return [accepted.model_copy(update=withdrawal) for accepted in standing]

    def add_judgement(self, night: Night, judgement: NightJudgement) -> None:
        """Log what the accepted nights said of a night."""
        with self._write() as base:
            base.execute(
                "INSERT INTO judgements (night, judged_at, verdict, document) VALUES (?, ?, ?, ?)",
                (night.id, _now(), judgement.verdict.value, judgement.model_dump_json()),
            )

    def nights(self, experiment: str) -> list[Night]:
        """The nights of an experiment by their time.

        Of a run that was added twice (resumed, or read by another version) the one that was
        accepted, else the later: a baseline must not vanish because a run is read again.
        """
        newest: dict[str, Night] = {}
        for number, digest, text in self._rows(
            "SELECT id, digest, document FROM nights WHERE experiment = ? "
            "ORDER BY id IN (SELECT night FROM acceptances), id",
            experiment,
        ):
            night = self._model(Night, text)
            newest[night.run] = night.model_copy(update={"id": number, "digest": digest})
        return sorted(newest.values(), key=lambda night: (night.started_at, night.id))

    def acceptances(self, experiment: str) -> list[Acceptance]:
        """Every acceptance of an experiment, the withdrawn ones too, in the order of time."""
        withdrawn = {
            acceptance: {"withdrawn": reason, "withdrawn_by": who, "withdrawn_at": at}
            for acceptance, reason, who, at in self._withdrawals()
        }
        return [
            Acceptance(
                id=number,
                night=night,
                pin=pin,
                reason=reason,
                accepted_by=who,
                accepted_at=at,
                **withdrawn.get(number, {}),
            )
            for number, night, pin, reason, who, at in self._rows(
                "SELECT id, night, pin, reason, accepted_by, accepted_at FROM acceptances "
                "WHERE experiment = ? ORDER BY id",
                experiment,
            )
        ]

    def _withdrawals(self) -> list[tuple[Any, ...]]:
        if not [*self._rows("SELECT 1 FROM sqlite_master WHERE name = 'withdrawals'")]:
            return []
        return [
            *self._rows("SELECT acceptance, reason, withdrawn_by, withdrawn_at FROM withdrawals")
        ]

    def judgements(self, experiment: str) -> list[Judged]:
        """Every judgement of an experiment's nights, in the order in which they were made."""
        return [
            Judged(**self._model(NightJudgement, text).model_dump(), night=night, judged_at=at)
            for night, at, text in self._rows(
                "SELECT night, judged_at, judgements.document FROM judgements JOIN nights "
                "ON nights.id = night WHERE experiment = ? ORDER BY judgements.id",
                experiment,
            )
        ]

    def experiments(self) -> list[str]:
        """Names of all experiments that have a night."""
        return [name for (name,) in self._rows("SELECT DISTINCT experiment FROM nights ORDER BY 1")]

    def stored_folder(self, run: Path) -> str:
        """A run's folder as the store keeps it: relative where it lies below the history's."""
        home = self.path.resolve().parent
        folder = run.resolve()
        return str(folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)

    def folder_of(self, night: Night) -> Path:
        """Where a night's run lay when it was added; it may be gone."""
        return self.path.resolve().parent / night.folder

    def _model(self, model: type[_M], text: str) -> _M:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise RecordError(f"{self.path}: a row is damaged: {error}") from error

    def _rows(self, query: str, *values: str) -> Iterator[tuple[Any, ...]]:
        if not self.path.exists():
            return
        try:
            with closing(self._open()) as base:
                yield from base.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(self._open()) as base:
                base.execute("BEGIN IMMEDIATE")
                try:
                    _upgrade(base)
                    yield base
                except BaseException:
                    base.execute("ROLLBACK")
                    raise
                base.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        try:
            base.execute("PRAGMA foreign_keys = ON")
            base.execute("PRAGMA synchronous = FULL")
            if _version(base) == 0:
                _create(base)
            if (found := _version(base)) not in _READ:
                raise RecordError(
                    f"{self.path}: has schema version {found}; this servegate reads "
                    f"{SCHEMA_VERSION}"
                )
        except BaseException:
            base.close()
            raise
        return base

    def _broken(self, error: sqlite3.DatabaseError) -> RecordError:
        return RecordError(f"{self.path}: is no history of servegate, or cannot be used: {error}")


def _version(base: sqlite3.Connection) -> int:
    (version,) = base.execute("PRAGMA user_version").fetchone()
    return int(version)


def _create(base: sqlite3.Connection) -> None:
    """Make the tables, once: whoever comes second finds them when the first has committed."""
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("BEGIN IMMEDIATE")
    if _version(base) == 0:
        (strangers,) = base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if strangers:
            base.execute("ROLLBACK")
            raise sqlite3.DatabaseError("it has tables of something else")
        for statement in (*_TABLES, *_append_only("nights", "acceptances", "judgements")):
            base.execute(statement)
        base.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        base.execute("PRAGMA user_version = 1")
        _upgrade(base)
    base.execute("COMMIT")


def _upgrade(base: sqlite3.Connection) -> None:
    """Add what a file of an earlier version has not, inside the writer's transaction."""
    if _version(base) == 1:
        for statement in (_WITHDRAWALS, *_append_only("withdrawals")):
            base.execute(statement)
        base.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _taken(night: Night, pin: str) -> str:
    if pin:
        return (
            f"there is a pinned baseline {pin!r} of {night.experiment} already; a pin never "
            f"moves, so give another name"
        )
    return f"{night.run} is a rolling baseline already, or was one and is withdrawn"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
