import socket
import subprocess
import sys

import pytest

from launchers.server.ports import free_port, port_taken

LISTEN = (
    "import socket, time; s = socket.create_server(('127.0.0.1', 0));"
    "print(s.getsockname()[1], flush=True); time.sleep(60)"
)


def test_a_listening_port_names_its_owner() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, "marked"], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            owner = port_taken("127.0.0.1", int(child.stdout.readline()))
        finally:
            child.kill()
    assert owner is not None
    assert owner.startswith(f"pid {child.pid}: ")
    assert owner.endswith("marked")


def test_a_free_port_is_not_taken_and_leaves_room_for_the_derived_ones() -> None:
    port = free_port("127.0.0.1")
    assert port_taken("127.0.0.1", port) is None
    assert 1024 < port <= 65535 - 240


def test_a_port_in_time_wait_is_free() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.close()  # the side that closes first keeps TIME_WAIT
    client.close()
    server.close()
    assert port_taken("127.0.0.1", port) is None


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match=r"assign|available"):
        free_port("192.0.2.1")
