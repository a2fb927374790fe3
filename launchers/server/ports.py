"""TCP ports: a free one for a server, and who holds a taken one."""

from __future__ import annotations

import contextlib
import shlex
import socket

import psutil

__all__ = ["free_port", "port_taken"]

_TRIES = 50
# SGLang with attention DP also binds port + 233 to port + 238 (srt/server_args.py of 0.5.23,
# ZMQ_TCP_PORT_DELTA and NUM_DERIVED_PORTS), and waits 30 s for one that is taken before it fails.
_ALSO_NEEDED = range(233, 240)
_HIGHEST = 65535 - _ALSO_NEEDED.stop


def free_port(host: str) -> int:
    """A port that nobody holds, nor any of those that SGLang derives from it.

    Raises:
        OSError: none was found, or `host` is no address of this machine.
    """
    for _ in range(_TRIES):
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port <= _HIGHEST and all(_bindable(host, port + also) for also in _ALSO_NEEDED):
            return port
    raise OSError(f"{host}: no port with free neighbours in {_TRIES} tries; set a fixed one")


def port_taken(host: str, port: int) -> str | None:
    """None if a server can listen there; else who does, as far as this user may see."""
    return None if _bindable(host, port) else _owner(port)


def _bindable(host: str, port: int) -> bool:
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that has ended (TIME_WAIT) don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            if connection.laddr and connection.laddr.port == port:
                command = shlex.join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid}: {command}"
    return "a process this user may not see"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
