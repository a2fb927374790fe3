"""A server is ready once it generated a token; it failed when its process or log says so."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from launchers.server.failures import FailureClass, ServerError, classify_log, report
from launchers.server.logs import NewLines
from launchers.server.process import Process

__all__ = [
    "SGLANG_HEALTH",
    "HealthCheck",
    "Ready",
    "ServerExited",
    "ServerNotReady",
    "Watch",
    "wait_ready",
]

_LOOK_S = 0.05
# Between attempts. A refused connection costs next to nothing; a server that is up within two
# seconds, as the fake engine is, is not kept waiting.
_PAUSE_S = 0.25
_FIRST_PAUSE_S = 0.05
_FIRST_S = 2.0
_CONNECT_S = 5.0
_TRACEBACK_S = 1.0  # what a crashing rank still writes after its first line says of what it died
_TREE_EVERY_S = 2.0


class ServerExited(ServerError):
    """The server's process has ended."""


class ServerNotReady(ServerError):
    """The server's process lives, and does not serve: crashed inside, hung, or too slow."""


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """What one engine's health looks like: where to ask, and which log lines mean a crash.

    `tokens` takes the JSON that `generate_path` answered with and returns how many were generated.
    """

    live_path: str
    generate_path: str
    generate_body: Mapping[str, Any]
    tokens: Callable[[Any], int]
    crash_patterns: tuple[str, ...] = ()
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        joined = "|".join(f"(?:{pattern})" for pattern in self.crash_patterns)
        never = r"(?!)"
        object.__setattr__(self, "pattern", re.compile(joined if self.crash_patterns else never))


def _sglang_tokens(answer: dict[str, dict[str, int]]) -> int:
    return int(answer["meta_info"]["completion_tokens"])


# 0.5.23: srt/managers/scheduler.py:6372 and its siblings, srt/entrypoints/engine.py:1978,
# srt/managers/tokenizer_manager.py:3468-3499 (a launcher that lives a minute longer, mute).
SGLANG_HEALTH = HealthCheck(
    live_path="/health",
    generate_path="/generate",
    generate_body={"text": "1 2 3", "sampling_params": {"max_new_tokens": 1, "temperature": 0}},
    tokens=_sglang_tokens,
    crash_patterns=(
        r"(?:Scheduler|Controller|Manager|Router) hit an exception",
        r"Received sigquit from a child process",
        r"seconds before crash diagnostics",
        r"Waiting [\d.]+ seconds for CUDA coredumps",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Seconds from the first look to the first generated token."""

    seconds: float


class Watch:
    """Looks at a server's process and at what its log has gained; asks nothing of the server.

    `listens` says whether the server listens where it is asked, and raises a ServerError if
    somebody else may answer there in its place. How that can be known depends on where the server
    runs: of a process on this machine the kernel tells (`launchers.server.listeners.OwnPort`).
    """

    def __init__(self, process: Process, check: HealthCheck, listens: Callable[[], bool]) -> None:
        self.process = process
        self.listens = listens
        self._check = check
        self._lines = NewLines(process.log)
        self._tree_at = 0.0

    def look(self) -> None:
        """Return if all is well; who listens on the server's port is looked up every two seconds.

        Raises:
            ServerExited: the process has ended.
            ServerNotReady: the log has a line that means a crash; the process may outlive it.
            ServerError: somebody else may answer in the server's place.
        """
        code = self.process.poll()
        if code is not None:
            raise ServerExited(
                report(f"the server ended, {_ending(code)}", self.process.argv, self.process.log),
                classify_log(self.process.log, FailureClass.CRASH),
            )
        if time.monotonic() - self._tree_at >= _TREE_EVERY_S:
            self.process.note_tree()
            self.listens()
            self._tree_at = time.monotonic()
        for line in self._lines.read():
            if self._check.pattern.search(line):
                time.sleep(_TRACEBACK_S)
                raise self.not_ready(f"the server's log says: {line.strip()}", FailureClass.CRASH)

    def not_ready(self, what: str, otherwise: FailureClass) -> ServerNotReady:
        """The error for a server whose process lives, with its log's end."""
        process = self.process
        alive = f"{what} (pid {process.pid} had not ended)"
        return ServerNotReady(
            report(alive, process.argv, process.log), classify_log(process.log, otherwise)
        )


def wait_ready(
    watch: Watch,
    base_url: str,
    *,
    check: HealthCheck,
    timeout_s: float,
    on_state: Callable[[str], None],
) -> Ready:
    """Wait until the server has generated a token; `on_state` hears of every change of state.

    HTTP 503, 200 without tokens, and no answer at all are "not yet". The process and its log are
    looked at while a request is under way, so that a crash is known at once. Nothing is asked
    before the server itself listens, and an answer counts if nobody else listened by then.

    Raises:
        ServerExited: the process ended first.
        ServerNotReady: a crash line in its log, or `timeout_s` was over.
        ServerError: somebody else may answer in the server's place.
    """
    began = time.monotonic()
    shown = ""
    attempt: _Attempt | None = None
    while attempt is None or not attempt.done:
        watch.look()
        waited_s = time.monotonic() - began
        state = "starting: not listening yet" if attempt is None else attempt.state
        if state != shown:
            shown = state
            on_state(state)
        if waited_s >= timeout_s:
            what = f"not ready after {timeout_s:g} s; last state: {state}"
            raise watch.not_ready(what, FailureClass.TIMEOUT)
        if attempt is not None and attempt.is_alive():
            attempt.join(_LOOK_S)
        elif attempt is None or not attempt.done:
            time.sleep(_FIRST_PAUSE_S if waited_s < _FIRST_S else _PAUSE_S)
            if watch.listens():
                attempt = _Attempt(base_url, check, timeout_s - waited_s, state)
                attempt.start()
    watch.look()
    watch.listens()
    watch.process.note_tree()
    return Ready(seconds=time.monotonic() - began)


class _Attempt(threading.Thread):
    """One try at health and generation, off the main thread so that it can be left hanging."""

    def __init__(self, base_url: str, check: HealthCheck, timeout_s: float, state: str) -> None:
        super().__init__(daemon=True, name="health")
        self._base_url = base_url
        self._check = check
        # Longer than it may take: the deadline is the watcher's, and the state then says where.
        self._timeout = (_CONNECT_S, timeout_s + _CONNECT_S)
        self.done = False
        self.state = state

    def run(self) -> None:
        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy must not answer for the server
                self.done = self._try(session)
        except requests.ConnectionError:
            self.state = "starting: no connection"
        except requests.RequestException as error:
            self.state = f"no answer: {type(error).__name__}"

    def _try(self, session: requests.Session) -> bool:
        check = self._check
        live = session.get(self._base_url + check.live_path, timeout=self._timeout)
        if live.status_code != requests.codes.ok:
            self.state = f"starting: {check.live_path} answers {live.status_code}"
            return False
        self.state = f"up: {check.live_path} answers 200, no answer yet from {check.generate_path}"
        made = session.post(
            self._base_url + check.generate_path, json=check.generate_body, timeout=self._timeout
        )
        if made.status_code != requests.codes.ok:
            self.state = f"up, but {check.generate_path} answers {made.status_code}"
            return False
        try:
            tokens = check.tokens(made.json())
        except (ValueError, LookupError, TypeError):
            self.state = f"up, but {check.generate_path} answers 200 with {made.content[:80]!r}"
            return False
        self.state = f"up: {tokens} token(s) generated"
        return tokens >= 1


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    killed = " (SIGKILL: often the kernel, for memory)" if code == -9 else ""
    return f"by signal {-code}{killed}"
