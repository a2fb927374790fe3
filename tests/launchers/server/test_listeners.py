"""A port is a server's own when only processes of its tree listen there, on whatever address."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from launchers.server.failures import FailureClass
from launchers.server.listeners import Foreign, OwnPort, listeners
from launchers.server.ports import free_port

# argv: port, then addresses. Each is listened on by a process of its own below the first.
SERVER = """
import os, socket, sys, time
for address in sys.argv[2:]:
    if os.fork() == 0:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.create_server(
            (address, int(sys.argv[1])), family=family, reuse_port=True
        )
        print(address, flush=True)
        time.sleep(120)
time.sleep(120)
"""


class Started:
    def __init__(self, *addresses: str) -> None:
        self.port = free_port("127.0.0.1")
        argv = [sys.executable, "-c", SERVER, str(self.port), *addresses]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for _ in addresses:
            self.process.stdout.readline()

    def tree(self) -> list[int]:
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [self.process.pid, *(child.pid for child in below)]

    def own(self) -> OwnPort:
        return OwnPort(self.port, self.tree)

    def end(self) -> None:
        for pid in self.tree():
            psutil.Process(pid).kill()
        self.process.communicate()


@pytest.fixture
def server() -> Iterator[Started]:
    started = Started("0.0.0.0")
    yield started
    started.end()


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["0.0.0.0"], ["0.0.0.0", "0.0.0.0", "::"]],
    ids=["one address", "every address", "a socket for each worker and family"],
)
def test_a_server_alone_has_its_port(addresses: list[str]) -> None:
    started = Started(*addresses)
    try:
        assert started.own()()
        assert len(listeners(started.port)) == len(addresses)
    finally:
        started.end()


def test_nobody_listens_yet() -> None:
    started = Started()
    try:
        assert not started.own()()
    finally:
        started.end()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::", "[::]"),
        ("::1", "[::1]"),
    ],
)
def test_another_process_beside_the_server_is_named(
    server: Started, address: str, shown: str
) -> None:
    own = server.own()
    assert own()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, server.port), family=family, reuse_port=True),
        pytest.raises(Foreign) as caught,
    ):
        own()
    told = str(caught.value)
    assert f"listens on the server's port {server.port}: pid {os.getpid()}: " in told
    assert told.endswith(f", on {shown}:{server.port}")
    assert caught.value.failure_class is FailureClass.PORT
    assert own()  # it has gone


def test_another_process_in_the_servers_place_is_named() -> None:
    started = Started()
    try:
        with socket.create_server(("", started.port)), pytest.raises(Foreign):
            started.own()()
    finally:
        started.end()


def test_a_connection_or_another_port_is_no_listener(server: Started) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        assert len(listeners(server.port)) == 1
        assert listeners(client.getsockname()[1]) == []
    assert server.own()()
