"""One start of one launch: its server, its cells, a record for each."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from evals import JOBS
from evals.comm_kernels.capture.nsys import end_session, session_in
from evals.job import Endpoint, JobSettings, Outcome
from launchers.machine.host_load import HostWatch
from launchers.server.failures import FailureClass, ServerError
from launchers.server.health import SGLANG_HEALTH
from launchers.server.launch import Server, launched
from launchers.server.listeners import Foreign
from launchers.server.process import Process, StillRunning, run_to_end
from pipeline.gate.host_rule import with_host
from pipeline.plan.model import Cell, Launch, Plan
from pipeline.premises import Claims, check_premises, check_start, disproved
from pipeline.records.folder import CellFolder, LaunchFolder, RunFolder
from pipeline.records.launch_note import Ended, LaunchNote
from pipeline.records.record import PremiseResult, Status
from pipeline.run.early_stop import watch
from pipeline.run.gpus import gpus_watched, with_gpus
from pipeline.run.observer import Observer
from pipeline.run.progress import Display
from pipeline.run.recorder import Recorder, finite, first_line, now, standing
from servegate_sglang.mixed_comm.requirements import FORBID_VARIABLE, MULTICAST_OFF

__all__ = ["LaunchRun"]

# Not handed down: what a user's shell holds for a server of theirs must not reach the clients.
_ENGINE_VARIABLES = ("SGLANG_", "SERVEGATE_WITNESS")


class _WrongArm(Exception):
    """The server that has started is not what the plan says; nothing is worth measuring on it."""

    def __init__(self, premises: list[PremiseResult]) -> None:
        super().__init__(f"the arm does not run what it claims: {disproved(premises)}")
        self.premises = premises


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
        self.claims = Claims.of(plan, launch)
        self.folder = folder
        self.place = place
        self.attempt = attempt
        self.lost_a_port = False
        self.recorder = Recorder(launch, attempt, place, folder, shown)
        self.shown = shown
        self.note = LaunchNote(
            launch=launch.id,
            attempt=attempt,
            argv=launch.argv,
            env=launch.env,
            env_unset=launch.env_unset,
            started_at=now(),
        )

    def run(self, todo: list[Cell]) -> None:
        """Start the server, run the cells, stop the server; failures become records."""
        waiting = list(todo)
        self.folder.add_event("launch_started", launch=self.launch.id, attempt=self.attempt)
        try:
            with self._server() as server:
                self.folder.add_event("launch_ready", launch=self.launch.id)
                observer = Observer(self.claims, self.place, server, self.plan.python)
                self._check_start(observer)
                while waiting:
                    self._run_cell(waiting[0], server, observer)
                    waiting.pop(0)
                    server.check_own()
        except _WrongArm as error:
            self.note.error = str(error)
            self.recorder.record_all(waiting, Status.INVALID, "premise", str(error), error.premises)
        except (ServerError, StillRunning, OSError) as error:
            failure = error.failure_class if isinstance(error, ServerError) else "launch"
            # No port was asked for: another start may have more luck, on another. That a log tells
            # of a port once the server has served is no reason for one.
            self.lost_a_port = self.launch.port is None and (
                isinstance(error, Foreign)
                or (failure == FailureClass.PORT and self.note.ready_s is None)
            )
            self.note.error = str(error)
            self.recorder.record_all(waiting, Status.FAILED, failure, first_line(error))
        except KeyboardInterrupt:
            # The cell that was running has its record; one that had not begun stays absent.
            self.note.error = "interrupted"
            raise
        finally:
            self.note.ended_at = now()
            self.note.write(self.place.launch)
            self.folder.add_event("launch_finished", launch=self.launch.id)

    @contextmanager
    def _server(self) -> Iterator[Server]:
        launch = self.launch
        env = {k: v for k, v in os.environ.items() if k not in launch.env_unset} | launch.env
        if env.get(FORBID_VARIABLE) == "1":
            # Also what no arm asks for by name: SGLang's custom all-reduce v2, for one, takes
            # multicast where torch has it (0.5.23, custom_all_reduce_v2.py).
            env |= MULTICAST_OFF
        env["SERVEGATE_WITNESS_DIR"] = str(self.place.root.resolve())
        self.note.write(self.place.launch)
        try:
            with self._launched(env) as server:
                self.note.port, self.note.ready_s = server.port, round(server.ready_s, 3)
                self.note.write(self.place.launch)
                yield server
        finally:
            self._end_tracing()
        if server.stopped is not None:
            self.note.stopped = Ended(
                returncode=server.stopped.returncode,
                killed=server.stopped.killed,
                seconds=round(server.stopped.seconds, 3),
            )

    def _end_tracing(self) -> None:
        """End what traced the server, whether it came up or not; say what may still run."""
        session = session_in(self.note.argv)
        left = None if session is None else end_session(session)
        self.note.tracer = left
        if left is not None:
            self.folder.add_event("tracer_left", launch=self.launch.id, reason=left)
            self.shown.state(left)

    def _launched(self, env: Mapping[str, str]) -> AbstractContextManager[Server]:
        launch = self.launch
        return launched(
            argv=[*launch.under, *launch.argv],
            env=env,
            log=self.place.server_log,
            host=launch.host,
            port=launch.port,
            health=SGLANG_HEALTH,
            ready_timeout_s=launch.ready_timeout_s,
            stop_timeout_s=launch.stop_timeout_s,
            on_state=self.shown.state,
            on_started=self._started,
        )

    def _started(self, process: Process) -> None:
        self.note.argv = list(process.argv)
        self.note.pid, self.note.create_time = process.pid, process.create_time
        self.note.write(self.place.launch)

    def _check_start(self, observer: Observer) -> None:
        """Keep what the launch runs with, and stop here if it is not what it should be."""
        evidence = observer.evidence()
        observer.keep_facts(evidence)
        premises = check_start(self.claims, evidence)
        if disproved(premises):
            raise _WrongArm(premises)

    def _run_cell(self, cell: Cell, server: Server, observer: Observer) -> None:
        """Run one job to its record. Raises only what ends the launch, after the record is kept."""
        began, started_at = time.monotonic(), now()
        place = self.place.cell(cell.job)
        place.root.mkdir(parents=True, exist_ok=True)
        ending: BaseException | None = None
        premises: list[PremiseResult] = []
        try:
            host = HostWatch()
            with gpus_watched(self.plan, self.launch, place) as sampling:
                outcome = self._outcome(cell, server, place, host)
            outcome = with_gpus(self.plan, cell, outcome, sampling)
            outcome = finite(with_host(self.plan, cell, outcome, host.summary()))
            server.check_own()
            if outcome.status == "ok":
                evidence = observer.evidence(outcome.details.get("kernels"))
                premises = check_premises(self.claims, evidence)
            status, failure, reason = standing(outcome, premises)
        except KeyboardInterrupt as error:
            ending, outcome = error, Outcome(status="failed")
            status, failure, reason = Status.ABORTED, "interrupted", "interrupted while it ran"
        except ServerError as error:
            # Of a job's own processes, too: whatever ran next would be measured beside them.
            ending, outcome = error, Outcome(status="failed")
            status, failure, reason = Status.FAILED, error.failure_class, first_line(error)
        except Exception:  # noqa: BLE001 - one broken cell must not lose the night's other cells
            outcome = Outcome(status="failed")
            status, failure, reason = Status.FAILED, "internal", traceback.format_exc()
        of_server = isinstance(ending, ServerError) and not isinstance(ending, StillRunning)
        log = self.place.server_log if of_server else place.job_log
        self.recorder.keep(
            cell,
            status,
            failure,
            reason,
            log=log,
            outcome=outcome,
            premises=premises,
            started_at=started_at,
            seconds=time.monotonic() - began,
            ready_s=self.note.ready_s,
        )
        if ending is not None:
            raise ending

    def _outcome(self, cell: Cell, server: Server, place: CellFolder, host: HostWatch) -> Outcome:
        job = JOBS[cell.kind]
        settings: JobSettings = job.settings_type.model_validate(cell.settings)
        endpoint = Endpoint(
            base_url=server.base_url,
            model=self.plan.model.served_name,
            tokenizer=self.plan.model.tokenizer,
            engine=self.plan.engine,
            python=self.plan.python,
        )

        stages = watch(self.plan, self.launch, cell, self.folder)

        def tick() -> None:
            server.check_alive()
            host.look()
            if stages is not None:
                stages.look()
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
        outcome = job.read(settings, place.root, finished.returncode)
        # Beside the record's own seconds, which hold what servegate itself does around the job.
        seconds = round(finished.seconds, 3)
        return replace(outcome, details={**outcome.details, "job_seconds": seconds})


def _client_env(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if not k.startswith(_ENGINE_VARIABLES)}
