"""A server on this machine for as long as a `with` block lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from launchers.server.failures import FailureClass
from launchers.server.health import HealthCheck, Watch, wait_ready
from launchers.server.listeners import OwnPort
from launchers.server.ports import reserved
from launchers.server.process import Process, Stopped, start
from launchers.server.sglang_ports import bound_ports

__all__ = ["Server", "launched"]

_INFO_TIMEOUT_S = 30.0
_INFO_PATHS = ("/server_info", "/get_server_info")  # the second is what SGLang before 0.5.7 knew


@dataclass(kw_only=True)
class Server:
    """A server that has generated a token; `stopped` is set when the `with` block has ended."""

    base_url: str
    host: str
    port: int
    process: Process
    watch: Watch
    ready_s: float
    stopped: Stopped | None = None

    def check_alive(self) -> None:
        """Return if the process lives and its log shows no crash.

        Raises:
            ServerExited: the process has ended.
            ServerNotReady: a crash line in the log of a process that still lives.
        """
        self.watch.look()

    def check_own(self) -> None:
        """As `check_alive`, and nobody else listens on the server's port, as of now.

        Raises:
            ServerExited: the process has ended.
            ServerNotReady: a crash line in the log of a process that still lives.
            Foreign: another process listens there, and may have answered in the server's place.
        """
        self.watch.look()
        self.watch.listens()

    def server_info(self) -> dict[str, Any]:
        """The arguments as the server resolved them, its version and its state.

        Raises:
            ServerExited: the process has ended.
            ServerNotReady: it gave no JSON object.
            Foreign: another process listens on its port, and may have answered in its place.
        """
        self.check_own()
        answers = []
        for path in _INFO_PATHS:
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    answer = session.get(self.base_url + path, timeout=_INFO_TIMEOUT_S)
                found = answer.json() if answer.status_code == requests.codes.ok else None
            except requests.RequestException as error:
                answers.append(f"{path}: {error}")
                continue
            if isinstance(found, dict):
                self.check_own()
                return found
            answers.append(f"{path}: HTTP {answer.status_code}, {answer.content[:80]!r}")
        self.check_own()
        what = f"the server does not tell its settings: {'; '.join(answers)}"
        raise self.watch.not_ready(what, FailureClass.HANG)

    def environ(self) -> dict[str, str]:
        """The environment that the live process has, read from the kernel.

        Raises:
            ServerExited: the process has ended.
        """
        self.check_alive()
        return dict(psutil.Process(self.process.pid).environ())


@contextmanager
def launched(  # noqa: PLR0913 - each of them is a decision written in the plan
    *,
    argv: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    host: str,
    port: int | None,
    health: HealthCheck,
    ready_timeout_s: float,
    stop_timeout_s: float,
    on_state: Callable[[str], None],
    on_started: Callable[[Process], None] = lambda _: None,
) -> Iterator[Server]:
    """Start a server, wait until it generates, and stop it with all it started, come what may.

    `argv` may hold `{port}` anywhere; `port` None stands for a free one. `env` is the complete
    environment. `on_started` gets the process before it is ready: pid, create_time and argv are
    what `stop_orphan` needs if we are killed. The port, and all that the server derives from it,
    stay reserved among servegate's processes for as long as the block lasts.

    Raises:
        PortTaken: a fixed port is in use; nothing was started.
        Foreign: another process took the port before the server was ready.
        ServerExited: it ended before it was ready.
        ServerNotReady: it crashed inside or was not ready in time.
        StillRunning: it could not be stopped.
    """
    if port is None and not any("{port}" in argument for argument in argv):
        raise ValueError(
            f"{' '.join(argv)}: no {{port}} in it, so the server cannot be told its free port;"
            " write {port} where the port goes, or fix the port"
        )
    with reserved(host, port, needs=lambda first: bound_ports(argv, env, first)) as chosen:
        command = [argument.replace("{port}", str(chosen)) for argument in argv]
        base_url = f"http://{f'[{host}]' if ':' in host else host}:{chosen}"
        process = start(command, env=env, log=log)
        server: Server | None = None
        try:
            on_started(process)
            on_state(f"started: pid {process.pid}, {base_url}")
            watch = Watch(process, health, OwnPort(chosen, process.note_tree))
            ready = wait_ready(
                watch, base_url, check=health, timeout_s=ready_timeout_s, on_state=on_state
            )
            server = Server(
                base_url=base_url,
                host=host,
                port=chosen,
                process=process,
                watch=watch,
                ready_s=ready.seconds,
            )
            yield server
        finally:
            stopped = process.stop(stop_timeout_s)
            if server is not None:
                server.stopped = stopped
