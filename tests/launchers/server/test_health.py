import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchers.server.failures import FailureClass, ServerError, classify
from launchers.server.health import (
    SGLANG_HEALTH,
    Ready,
    ServerExited,
    ServerNotReady,
    Watch,
    wait_ready,
)
from launchers.server.listeners import OwnPort
from launchers.server.ports import free_port
from launchers.server.process import Process, log_tail, start
from tests.launchers.server.test_process import until

# argv: port, then Python statements: SETUP, then LIVE and MADE give (status, body) of an answer.
SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
began = time.monotonic()
class Handler(BaseHTTPRequestHandler):
    def answer(self, code):
        scope = dict(age=time.monotonic() - began, time=time)
        status, body = eval(code, scope)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(sys.argv[3])
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(sys.argv[4])
exec(sys.argv[2])
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
MADE = """(200, b'{"text": "4", "meta_info": {"completion_tokens": 1}}')"""
CRASH = """
import threading
def crash():
    time.sleep(0.5)
    print("[2026-01-01 00:00:00 TP1] Scheduler hit an exception: Traceback (most recent ...")
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", flush=True)
threading.Thread(target=crash).start()
"""


class Starter:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []

    def __call__(self, *, setup: str = "", live: str = "(200, b'')", made: str = MADE) -> Watch:
        self.port = free_port("127.0.0.1")
        argv = [sys.executable, "-S", "-c", SERVER, str(self.port), setup, live, made]
        process = start(argv, env=dict(os.environ), log=self.folder / "server.log")
        self.started.append(process)
        return Watch(process, SGLANG_HEALTH, OwnPort(self.port, process.note_tree))

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait(self, watch: Watch, timeout_s: float) -> tuple[Ready, list[str]]:
        states: list[str] = []
        ready = wait_ready(
            watch,
            f"http://127.0.0.1:{self.port}",
            check=SGLANG_HEALTH,
            timeout_s=timeout_s,
            on_state=states.append,
        )
        return ready, states


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for process in starter.started:
        process.stop(0)


def test_503_is_not_ready_and_a_generated_token_is(server: Starter) -> None:
    watch = server(live="(200 if age > 0.8 else 503, b'')")
    ready, states = server.wait(watch, 20)
    assert ready.seconds > 0.8
    assert "starting: /health answers 503" in states


@pytest.mark.parametrize(
    ("made", "state"),
    [
        ("(200, b'')", "answers 200 with b''"),
        ("(200, b'[1]')", r"answers 200 with b'\[1\]'"),
        ("""(200, b'{"meta_info": {"completion_tokens": 0}}')""", r"0 token\(s\) generated"),
        ("(500, b'no')", "/generate answers 500"),
        ("time.sleep(30)", "no answer yet from /generate"),
    ],
)
def test_without_a_token_it_is_not_ready(server: Starter, made: str, state: str) -> None:
    watch = server(made=made)
    until(server.listens)
    with pytest.raises(ServerNotReady, match=f"not ready after 4 s; last state: .*{state}") as got:
        server.wait(watch, 4)
    assert got.value.failure_class is FailureClass.TIMEOUT


def test_a_server_that_never_listens_meets_its_deadline(server: Starter) -> None:
    watch = server(setup="print('loading', flush=True); time.sleep(60)")
    until(lambda: log_tail(watch.process.log) == ["loading"])
    with pytest.raises(ServerNotReady) as got:
        server.wait(watch, 0.8)
    message = str(got.value)
    assert "not ready after 0.8 s; last state: starting: not listening yet" in message
    assert f"command: {sys.executable} -S -c" in message
    assert "  | loading" in message


def test_an_exit_during_start_gives_code_command_and_log(server: Starter) -> None:
    watch = server(setup="[print('line', n) for n in range(50)]; sys.exit(3)")
    with pytest.raises(ServerExited, match="the server ended, exit code 3") as got:
        server.wait(watch, 20)
    shown = [line for line in str(got.value).splitlines() if line.startswith("  | ")]
    assert shown == [f"  | line {n}" for n in range(10, 50)]
    assert got.value.failure_class is FailureClass.CRASH


def test_a_signal_is_named(server: Starter) -> None:
    watch = server(setup="import os; os.kill(os.getpid(), 9)")
    with pytest.raises(ServerExited, match=r"by signal 9 \(SIGKILL: often the kernel, for memory"):
        server.wait(watch, 20)


@pytest.mark.parametrize("live", ["(503, b'')", "time.sleep(30)"])
def test_a_crash_inside_a_living_server_is_seen_long_before_the_deadline(
    server: Starter, live: str
) -> None:
    watch = server(setup=CRASH, live=live)
    with pytest.raises(ServerNotReady, match=r"log says: .*Scheduler hit an exception") as got:
        server.wait(watch, 60)
    assert got.value.failure_class is FailureClass.OOM  # the traceback's end says of what
    assert watch.process.poll() is None


def test_a_crash_after_ready_is_seen_by_the_next_look(server: Starter) -> None:
    watch = server()
    server.wait(watch, 20)
    watch.look()
    with watch.process.log.open("a") as log:
        log.write("Received sigquit from a child process. It usually means the child failed.\n")
    with pytest.raises(ServerNotReady, match="Received sigquit"):
        watch.look()


def test_an_error_is_caught_as_the_kind_all_servers_share(server: Starter) -> None:
    with pytest.raises(ServerError):
        server.wait(server(setup="sys.exit(1)"), 20)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch.OutOfMemoryError: HIP out of memory.", FailureClass.OOM),
        ("RuntimeError: Not enough memory. Please try to increase", FailureClass.OOM),
        ("[Errno 98] error while attempting to bind: address already in use", FailureClass.PORT),
        ("nccl_port at 31245 is not available in 30 seconds.", FailureClass.PORT),
        ("launch_server.py: error: unrecognized arguments: --dpp", FailureClass.USAGE),
        ("error: ambiguous option: --cuda-graph-bs could match", FailureClass.USAGE),
        ("Scheduler watchdog timeout (self.watchdog_timeout=300)", FailureClass.HANG),
        ("AssertionError", FailureClass.CRASH),
        ("loading memory map", FailureClass.CRASH),
    ],
)
def test_a_log_line_tells_the_class(line: str, expected: FailureClass) -> None:
    assert classify(["something before", line], FailureClass.CRASH) is expected


@pytest.mark.parametrize(
    "line",
    [
        "[TP0] Scheduler hit an exception: Traceback",
        "DataParallelController hit an exception: Traceback",
        "DetokenizerManager hit an exception: ",
        "MultiTokenizerRouter hit an exception: ",
        "Sleeping 5 seconds before crash diagnostics to let GPU activity settle.",
        "Waiting 60.0 seconds for CUDA coredumps before exiting.",
    ],
)
def test_sglang_crash_lines(line: str) -> None:
    assert SGLANG_HEALTH.pattern.search(line)


def test_ordinary_sglang_lines_are_no_crash() -> None:
    for line in ("Decode batch, #running-req: 1", "The server is fired up and ready to roll!"):
        assert not SGLANG_HEALTH.pattern.search(line)
