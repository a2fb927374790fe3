import os
import socket

import pytest

from launchers.ports import free_port, port_taken


def test_a_listening_port_names_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        owner = port_taken("127.0.0.1", server.getsockname()[1])
    assert owner is not None
    # The command line follows, whatever a test runner has made of its own.
    assert owner.startswith(f"pid {os.getpid()}: ")
    assert "test" in owner or "python" in owner


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
