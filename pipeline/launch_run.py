"""One start of one launch: its server, its cells, a record for each."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals import JOBS
from evals.job import Endpoint, JobSettings, Outcome
from launchers.failures import ServerError
from launchers.health import SGLANG_HEALTH
from launchers.local import Server, launched
from launchers.process import Process, StillRunning, log_tail, run_to_end
from pipeline.plan import Cell, Launch, Plan
from pipeline.premises import Evidence, check_premises, disproved
from pipeline.progress import Display
from pipeline.records import PremiseResult, Record, Status, write_json
from pipeline.run_folder import CellFolder, LaunchFolder, RunFolder

__all__ = ["LaunchRun"]

_LOG_LINES = 40
# Not handed down: what a user's shell holds for a server of theirs must not reach the clients.
_ENGINE_VARIABLES = ("SGLANG_", "SERVEGATE_WITNESS")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class LaunchRun:
    """One start of one launch: holds what every record of it says alike."""

    def __init__(
        self,
        plan: Plan,
        launch: Launch,
        folder: RunFolder,
        place: LaunchFolder,
        attempt: int,
        shown: Display,
    ) -> None:
        self.plan = plan
        self.launch = launch
        self.folder = folder
        self.place = place
        self.attempt = attempt
        self.shown = shown
        self.note: dict[str, Any] = {
            "schema_version": 1, "launch": launch.id, "attempt": attempt, "argv": launch.argv,
            "env": launch.env, "env_unset": launch.env_unset, "pid": None, "create_time": None,
            "port": None, "started_at": _now(), "ready_s": None, "ended_at": None,
            "stopped": None, "error": None,
        }  # fmt: skip

    def run(self, todo: list[Cell]) -> None:
        """Start the server, run the cells, stop the server; failures become records."""
        waiting = list(todo)
        self.folder.add_event("launch_started", launch=self.launch.id, attempt=self.attempt)
        try:
            with self._server() as server:
                self.folder.add_event("launch_ready", launch=self.launch.id)
                while waiting:
                    self._run_cell(waiting[0], server)
                    waiting.pop(0)
                    server.check_alive()
        except (ServerError, StillRunning, OSError) as error:
            failure = error.failure_class if isinstance(error, ServerError) else "launch"
            self.note["error"] = str(error)
            self.record_all(waiting, Status.FAILED, failure, _first_line(error))
        except KeyboardInterrupt:
            # The cell that was running has its record; one that had not begun stays absent.
            self.note["error"] = "interrupted"
            raise
        finally:
            self.note["ended_at"] = _now()
            write_json(self.place.launch, self.note)
            self.folder.add_event("launch_finished", launch=self.launch.id)

    @contextmanager
    def _server(self) -> Iterator[Server]:
        launch = self.launch
        env = {k: v for k, v in os.environ.items() if k not in launch.env_unset} | launch.env
        env["SERVEGATE_WITNESS_DIR"] = str(self.place.root.resolve())
        write_json(self.place.launch, self.note)
        with launched(
            argv=launch.argv,
            env=env,
            log=self.place.server_log,
            host=launch.host,
            port=launch.port,
            health=SGLANG_HEALTH,
            ready_timeout_s=launch.ready_timeout_s,
            stop_timeout_s=launch.stop_timeout_s,
            on_state=self.shown.state,
            on_started=self._started,
        ) as server:
            self.note |= {"port": server.port, "ready_s": round(server.ready_s, 3)}
            write_json(self.place.launch, self.note)
            self._evidence(server)
            yield server
        if server.stopped is not None:
            self.note["stopped"] = {
                "returncode": server.stopped.returncode,
                "killed": server.stopped.killed,
                "seconds": round(server.stopped.seconds, 3),
            }

    def _started(self, process: Process) -> None:
        self.note |= {
            "argv": list(process.argv), "pid": process.pid, "create_time": process.create_time,
        }  # fmt: skip
        write_json(self.place.launch, self.note)

    def _evidence(self, server: Server) -> Evidence:
        info = server.server_info()
        write_json(self.place.server_info, info)
        return Evidence(
            server_info=info, environ=server.environ(), witnesses=self.place.witnesses()
        )

    def _run_cell(self, cell: Cell, server: Server) -> None:
        """Run one job to its record. Raises only what ends the launch, after the record is kept."""
        began, started_at = time.monotonic(), _now()
        place = self.place.cell(cell.job)
        place.root.mkdir(parents=True, exist_ok=True)
        ending: BaseException | None = None
        premises: list[PremiseResult] = []
        try:
            outcome = self._outcome(cell, server, place)
            server.check_alive()
            if outcome.status == "ok":
                premises = check_premises(self.launch, self._evidence(server))
            status, failure, reason = _judge(outcome, premises)
        except KeyboardInterrupt as error:
            ending, outcome = error, Outcome(status="failed")
            status, failure, reason = Status.ABORTED, "interrupted", "interrupted while it ran"
        except ServerError as error:
            ending, outcome = error, Outcome(status="failed")
            status, failure, reason = Status.FAILED, error.failure_class, _first_line(error)
        except Exception:  # noqa: BLE001 - one broken cell must not lose the night's other cells
            outcome = Outcome(status="failed")
            status, failure, reason = Status.FAILED, "internal", traceback.format_exc()
        log = self.place.server_log if isinstance(ending, ServerError) else place.job_log
        self._keep(
            cell, status, failure, reason, log=log,
            outcome=outcome, premises=premises, started_at=started_at,
            seconds=time.monotonic() - began,
        )  # fmt: skip
        if ending is not None and not isinstance(ending, ServerError):
            raise ending

    def _outcome(self, cell: Cell, server: Server, place: CellFolder) -> Outcome:
        job = JOBS[cell.kind]
        settings: JobSettings = job.settings_type.model_validate(cell.settings)
        endpoint = Endpoint(
            base_url=server.base_url,
            model=self.plan.model.served_name,
            tokenizer=self.plan.model.tokenizer,
            engine=self.plan.engine,
            python=self.plan.python,
        )

        def tick() -> None:
            server.check_alive()
            self.shown.job(cell.job, job.progress(settings, place.root))

        finished = run_to_end(
            job.argv(settings, endpoint, place.root),
            env=_client_env(os.environ) | job.env(settings, endpoint),
            log=place.job_log,
            deadline_s=settings.deadline_s,
            on_tick=tick,
        )
        if finished.timed_out:
            return Outcome(
                status="failed",
                failure_class="deadline",
                reason=f"the job was stopped after its deadline of {settings.deadline_s:g} s; "
                f"raise jobs.{cell.job}.deadline_s if it was still getting on",
            )
        return job.read(settings, place.root, finished.returncode)

    def record_all(self, cells: list[Cell], status: Status, failure: str, reason: str) -> None:
        """Give each of the cells the same record; those that have one keep it."""
        for cell in cells:
            place = self.place.cell(cell.job)
            if place.record.exists():
                continue
            place.root.mkdir(parents=True, exist_ok=True)
            self._keep(
                cell, status, failure, reason, log=self.place.server_log,
                outcome=Outcome(status="failed"), premises=[], started_at=_now(), seconds=0.0,
            )  # fmt: skip

    def _keep(  # noqa: PLR0913 - the fields of a record
        self,
        cell: Cell,
        status: Status,
        failure: str,
        reason: str,
        *,
        log: Path,
        outcome: Outcome,
        premises: list[PremiseResult],
        started_at: str,
        seconds: float,
    ) -> None:
        place = self.place.cell(cell.job)
        told = status in (Status.FAILED, Status.INVALID)
        record = Record(
            cell=cell.id,
            launch=self.launch.id,
            attempt=self.attempt,
            arm=self.launch.arm,
            layout=self.launch.layout,
            block=self.launch.block,
            job=cell.job,
            kind=cell.kind,
            status=status,
            failure_class=failure,
            reason=reason,
            log_tail=log_tail(log, _LOG_LINES) if told else [],
            started_at=started_at,
            ended_at=_now(),
            seconds=round(seconds, 3),
            settings=cell.settings,
            metrics=outcome.metrics,
            counts=outcome.counts,
            runs=outcome.runs,
            details={**outcome.details, "server_ready_s": self.note["ready_s"]},
            artifacts=outcome.artifacts,
            premises=premises,
        )
        place.write(record)
        self.folder.add_event("cell_finished", cell=cell.id, status=status.value)
        self.shown.record(record)


def _first_line(error: Exception) -> str:
    """Without command and log, which the launch's note and the record's own tail hold."""
    return str(error).splitlines()[0]


def _judge(outcome: Outcome, premises: list[PremiseResult]) -> tuple[Status, str, str]:
    if outcome.status != "ok":
        return Status(outcome.status), outcome.failure_class, outcome.reason
    if wrong := disproved(premises):
        return Status.INVALID, "premise", f"the arm did not run what it claims: {wrong}"
    return Status.OK, "", ""


def _client_env(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if not k.startswith(_ENGINE_VARIABLES)}
