import os
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from launchers.server.failures import FailureClass
from launchers.server.health import SGLANG_HEALTH, ServerExited
from launchers.server.launch import Server, launched
from launchers.server.listeners import Foreign
from launchers.server.ports import PortTaken, port_taken, reserved
from launchers.server.process import Process
from tests.launchers.server.test_health import MADE, SERVER
from tests.launchers.server.test_process import until

INFO = """(200, b'{"version": "1"}')"""


def arguments(folder: Path, *, live: str = "(200, b'')", setup: str = "") -> dict[str, Any]:
    return {
        "argv": [sys.executable, "-S", "-c", SERVER, "{port}", setup, live, MADE],
        "env": {"PATH": os.environ["PATH"], "MARK": "here"},
        "log": folder / "server.log",
        "host": "127.0.0.1",
        "port": None,
        "health": SGLANG_HEALTH,
        "ready_timeout_s": 20,
        "stop_timeout_s": 5,
        "on_state": lambda _: None,
    }


def test_a_server_lives_as_long_as_the_block_on_a_free_port(tmp_path: Path) -> None:
    started: list[Process] = []
    with launched(**arguments(tmp_path, live=INFO), on_started=started.append) as server:
        assert started == [server.process]
        assert str(server.port) in server.process.argv
        assert server.base_url == f"http://127.0.0.1:{server.port}"
        assert server.server_info() == {"version": "1"}
        assert server.environ()["MARK"] == "here"
        assert "HOME" not in server.environ()
        server.check_alive()
        assert server.ready_s > 0
        assert server.stopped is None
    assert server.stopped is not None
    assert not server.stopped.killed
    assert not psutil.pid_exists(server.process.pid)
    with pytest.raises(ServerExited):
        server.check_alive()


def test_an_older_server_tells_its_settings_elsewhere(tmp_path: Path) -> None:
    setup = """
answer = Handler.answer
Handler.answer = lambda self, code: answer(self, "(404, b'')" if "/server_info" == self.path
                                           else code)
"""
    with launched(**arguments(tmp_path, live=INFO, setup=setup)) as server:
        assert server.server_info() == {"version": "1"}


def test_a_block_that_raises_leaves_nothing_running(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        launched(**arguments(tmp_path)) as server,
    ):
        raise ZeroDivisionError
    assert not psutil.pid_exists(server.process.pid)


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    started: list[Process] = []
    with (
        pytest.raises(ServerExited, match="exit code 4"),
        launched(**arguments(tmp_path, setup="sys.exit(4)"), on_started=started.append),
    ):
        pytest.fail("not reached")
    assert not psutil.pid_exists(started[0].pid)


def test_a_server_that_dies_inside_the_block_is_noticed(tmp_path: Path) -> None:
    with launched(**arguments(tmp_path)) as server:
        psutil.Process(server.process.pid).kill()
        until(lambda: server.process.poll() is not None)
        with pytest.raises(ServerExited, match="by signal 9"):
            server.check_alive()


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(PortTaken, match=f"port {port} is taken by pid {os.getpid()}: ") as got,
            launched(**{**arguments(tmp_path), "port": port}),
        ):
            pytest.fail("not reached")
    assert got.value.failure_class is FailureClass.PORT
    assert not (tmp_path / "server.log").exists()


def test_a_free_port_needs_a_place_in_the_command(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"no \{port\} in it"),
        launched(**{**arguments(tmp_path), "argv": ["server", "--port", "1"]}),
    ):
        pytest.fail("not reached")


def test_braces_of_json_arguments_are_left_alone(tmp_path: Path) -> None:
    setup = "print(sys.argv[5], flush=True)"
    given = arguments(tmp_path, setup=setup)
    given["argv"] = [*given["argv"], '{"a": {"port": 1}, "p": "{port}"}']
    with launched(**given) as server:
        shown = server.process.log.read_text().splitlines()[0]
        assert shown == f'{{"a": {{"port": 1}}, "p": "{server.port}"}}'


def other_server(port: int) -> socket.socket:
    """Another process's, which is here: reached by whoever asks another address of this host."""
    return socket.create_server(("127.0.0.2", port))


def keep_looking(server: Server) -> None:
    while True:
        server.check_alive()
        time.sleep(0.05)


def test_a_port_that_is_taken_while_the_server_loads_ends_the_start(tmp_path: Path) -> None:
    loading = "time.sleep(60)"
    with ExitStack() as taken:

        def take(process: Process) -> None:
            taken.enter_context(other_server(int(process.argv[4])))

        with (
            pytest.raises(Foreign, match=f"server's port .*: pid {os.getpid()}: ") as got,
            launched(**arguments(tmp_path, setup=loading), on_started=take),
        ):
            pytest.fail("not reached")
    assert got.value.failure_class is FailureClass.PORT


def test_nobody_is_asked_before_the_server_itself_listens(tmp_path: Path) -> None:
    states: list[str] = []
    given = {**arguments(tmp_path, setup="time.sleep(1)"), "on_state": states.append}
    with launched(**given):
        pass
    assert states[1] == "starting: not listening yet"
    assert "no connection" not in " ".join(states)


def test_whoever_joins_the_server_on_its_port_is_noticed_at_once(tmp_path: Path) -> None:
    with launched(**arguments(tmp_path, live=INFO)) as server:
        server.check_own()
        with other_server(server.port):
            with pytest.raises(Foreign):
                server.check_own()
            with pytest.raises(Foreign):
                server.server_info()
        assert server.server_info() == {"version": "1"}
        # In the middle of a job too, within seconds.
        with other_server(server.port), pytest.raises(Foreign):
            keep_looking(server)


def test_the_port_stays_reserved_while_the_server_lives(tmp_path: Path) -> None:
    with (
        launched(**arguments(tmp_path)) as server,
        pytest.raises(PortTaken, match="another servegate"),
        reserved("", server.port),
    ):
        pytest.fail("not reached")
    assert port_taken(server.port) is None
