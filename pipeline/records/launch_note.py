"""launch.json: one start of one server, as it went. The only record of a run that is rewritten."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.records.record import write_json


class Ended(BaseModel):
    """How a server's process ended when it was told to."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    returncode: int | None
    killed: bool
    seconds: float


class LaunchNote(BaseModel):
    """What is known of a launch so far; what has not come yet is None.

    Attributes:
        launch: The launch's id in the plan.
        attempt: Which start of it, from 1.
        argv: The command as started, its port filled in.
        env: Variables set for it.
        env_unset: Variables taken out of the environment.
        pid: Of the server's process.
        create_time: When that process began, in seconds since 1970: a pid alone may be another's.
        port: Where it listens.
        started_at: UTC.
        ready_s: Seconds until it had generated a token.
        ended_at: UTC; None while it runs, or where servegate was killed.
        stopped: How it ended.
        tracer: What a profiler around it left running; None: nothing.
        error: Why the launch ended early.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = 1
    launch: str
    attempt: int
    argv: list[str]
    env: dict[str, str]
    env_unset: list[str]
    pid: int | None = None
    create_time: float | None = None
    port: int | None = None
    started_at: str
    ready_s: float | None = None
    ended_at: str | None = None
    stopped: Ended | None = None
    tracer: str | None = None
    error: str | None = None

    def write(self, path: Path) -> None:
        """Replace what the file says."""
        write_json(path, self.model_dump(mode="json"))
