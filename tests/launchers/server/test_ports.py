import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from launchers.server.ports import PortTaken, free_port, port_taken, reserved
from launchers.server.sglang_ports import bound_ports

LISTEN = (
    "import socket, time; s = socket.create_server(('127.0.0.1', 0));"
    "print(s.getsockname()[1], flush=True); time.sleep(60)"
)
# argv: how many. Reserves as many ports for servers with attention DP and holds them until told.
RESERVE = """
import sys
from contextlib import ExitStack
from launchers.server.ports import reserved
from launchers.server.sglang_ports import bound_ports
argv = ["--attn-dp-size", "2"]
input()
with ExitStack() as held:
    needs = lambda port: bound_ports(argv, {}, port)
    made = [held.enter_context(reserved("127.0.0.1", needs=needs)) for _ in range(int(sys.argv[1]))]
    print(*made, flush=True)
    input()
"""


@contextmanager
def reserving(count: int) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", RESERVE, str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ports_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def test_a_listening_port_names_its_owner() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, "marked"], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            owner = port_taken(int(child.stdout.readline()))
        finally:
            child.kill()
    assert owner is not None
    assert owner.startswith(f"pid {child.pid}: ")
    assert owner.endswith("marked")


def test_a_free_port_is_not_taken_and_leaves_room_for_the_derived_ones() -> None:
    port = free_port("127.0.0.1")
    assert port_taken(port) is None
    assert 1024 < port <= 65535 - 240


def test_a_port_in_time_wait_is_free() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.close()  # the side that closes first keeps TIME_WAIT
    client.close()
    server.close()
    assert port_taken(port) is None


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match=r"assign|available"):
        free_port("192.0.2.1")


@pytest.mark.parametrize("address", ["127.0.0.2", "::1", "::", "0.0.0.0"])
def test_a_port_is_taken_by_a_listener_on_any_address(address: str) -> None:
    port = free_port("127.0.0.1")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family, reuse_port=True):
        assert str(port_taken(port)).startswith(f"pid {os.getpid()}: ")
        with pytest.raises(PortTaken, match=f"port {port} is taken by pid"), reserved("", port):
            pass
    assert port_taken(port) is None


def test_a_hundred_reservations_of_two_processes_share_no_port() -> None:
    with reserving(50) as one, reserving(50) as other:
        tell(one)
        tell(other)
        bases = [*ports_of(one), *ports_of(other)]
        needed = [port for base in bases for port in bound_ports(["--attn-dp-size", "2"], {}, base)]
    assert len(bases) == len(set(bases)) == 100
    assert len(needed) == len(set(needed)) == 800


def test_a_reserved_port_names_the_process_and_is_free_once_that_is_killed() -> None:
    with reserving(1) as other:
        tell(other)
        [port] = ports_of(other)
        assert str(port_taken(port)).startswith(f"another servegate, pid {other.pid}: ")
        # Not the port itself, but one that a server there binds as well.
        with (
            pytest.raises(PortTaken, match=rf"port {port + 235} is taken by another servegate"),
            reserved("127.0.0.1", port + 235),
        ):
            pass
        other.kill()
        other.wait()
        assert port_taken(port) is None


def test_a_fixed_port_needs_all_that_the_server_binds() -> None:
    port = free_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", port + 236)):
        with (
            pytest.raises(
                PortTaken,
                match=rf"port {port + 236} \(the server on port {port} needs it too\) is taken by",
            ),
            reserved(
                "127.0.0.1", port, needs=lambda p: bound_ports(["--enable-dp-attention"], {}, p)
            ),
        ):
            pass
        with reserved("127.0.0.1", port, needs=lambda p: bound_ports([], {}, p)) as given:
            assert given == port
    assert port_taken(port) is None


def test_what_was_reserved_before_a_port_that_is_taken_is_given_back() -> None:
    port = free_port("127.0.0.1")
    with (
        socket.create_server(("127.0.0.1", port + 1)),
        pytest.raises(PortTaken),
        reserved("127.0.0.1", port, needs=lambda p: [p, p + 1]),
    ):
        pass
    assert port_taken(port) is None


DERIVED = range(30233, 30240)
RUST = "SGLANG_RUST_SERVER"


# By hand from srt/server_args.py of 0.5.23, PortArgs.init_new; those without SGLANG_RUST_SERVER
# held against the real one, too.
@pytest.mark.parametrize(
    ("argv", "env", "port", "expected"),
    [
        ("--tp-size 4", {}, 30000, {30000}),
        ("--attn-dp-size 4", {}, 30000, {30000, *DERIVED}),
        ("--dp-size 2 --enable-dp-attention", {}, 30000, {30000, *DERIVED}),
        # 65400 + 233 is no port: 65167 is the ranks' meeting point, the others follow it.
        ("--attn-dp-size 2", {}, 65400, {65400, *range(65167, 65174)}),
        # 65300 + 233 + 6 is no port: the others end just before the meeting point.
        ("--attn-dp-size 2", {}, 65300, {65300, 65533, *range(65526, 65532)}),
        ("--nccl-port 29500", {}, 30000, {30000, 29500}),
        ("--dist-init-addr 127.0.0.1:25000", {}, 30000, {30000, 25000}),
        ("--dist-init-addr [::1]:25000 --attn-dp-size 2", {}, 30000, {30000, *range(25000, 25007)}),
        ("--attn-dp-size 4", {RUST: "True"}, 30000, {*range(30000, 30004), *range(30233, 30244)}),
        ("--attn-dp-size 4", {RUST: "0"}, 30000, {30000, *DERIVED}),
        ("--nccl-port nonsense", {}, 30000, {30000}),
    ],
)
def test_ports_that_sglang_binds(
    argv: str, env: dict[str, str], port: int, expected: set[int]
) -> None:
    assert bound_ports(argv.split(), env, port) == expected
