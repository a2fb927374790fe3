"""TCP ports: reserved among servegate's processes of one host, and who holds a taken one."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from launchers.server.failures import FailureClass, ServerError
from launchers.server.listeners import holder, listeners

__all__ = ["PortTaken", "free_port", "port_taken", "reserved"]

_TRIES = 200
# Below 22000, from where SGLang draws the port of its ranks' rendezvous, and below the ports that
# kernels give to outgoing connections (from 32768 on by default): one of those may take a port
# between choosing and binding it. All that SGLang derives from such a port is below them too.
_FREE = range(10000, 21700)
# A reserved port is a name in Linux's abstract namespace of Unix sockets. It is shared by exactly
# the processes that share ports (those of one network namespace), belongs to no user or folder, and
# goes with the process that has it, however that ends.
_LOCK = "\0servegate-port-{}"


class PortTaken(ServerError):
    """A port that the server needs is held by somebody else; nothing was started."""


@contextmanager
def reserved(
    host: str, port: int | None = None, *, needs: Callable[[int], Iterable[int]] = lambda p: [p]
) -> Iterator[int]:
    """A port for a server, kept from every other servegate of this host while the block lasts.

    Nobody uses it, nor any other port that the server binds. Only servegate heeds a reservation:
    once the server is up, whoever started it still has to see that it is the one who listens there.

    Args:
        host: Address that the server binds.
        port: A fixed port; None: any free one.
        needs: All ports that a server on this port binds, itself included.

    Raises:
        PortTaken: The fixed port, or another that it needs, is in use or reserved.
        OSError: There is no free port, or `host` is no address of this machine.
    """
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
    with ExitStack() as kept:
        if port is None:
            port = _reserve_any(needs, kept)
        elif (lost := _reserve(needs(port), kept)) is not None:
            whose = "" if lost == port else f" (the server on port {port} needs it too)"
            raise PortTaken(f"port {lost}{whose} is taken by {_owner(lost)}", FailureClass.PORT)
        yield port


def free_port(host: str) -> int:
    """A port that nobody uses or has reserved now.

    Raises:
        OSError: There is none, or `host` is no address of this machine.
    """
    with reserved(host) as port:
        return port


def port_taken(port: int) -> str | None:
    """None if a server can listen there, on any address; else who does, as far as can be seen."""
    with ExitStack() as kept:
        lost = _reserve([port], kept)
    return None if lost is None else _owner(port)


def _reserve_any(needs: Callable[[int], Iterable[int]], kept: ExitStack) -> int:
    for port in random.sample(_FREE, _TRIES):
        if _reserve(needs(port), kept) is None:
            return port
    raise OSError(
        f"no free port in {_TRIES} tries between {_FREE.start} and {_FREE.stop}; set a fixed one"
    )


def _reserve(ports: Iterable[int], kept: ExitStack) -> int | None:
    """Reserve all of them until `kept` ends, or none; the first that cannot be had."""
    with ExitStack() as taken:
        for port in ports:
            lock = taken.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                lock.bind(_LOCK.format(port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return port
            if not _bindable(port):
                return port
        kept.enter_context(taken.pop_all())
    return None


def _owner(port: int) -> str:
    # Columns of /proc/net/unix: ..., inode, path, with @ for the NUL of an abstract name.
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines():
        columns = line.split()
        if columns[-1] == _LOCK.format(port).replace("\0", "@"):
            return f"another servegate, {holder(int(columns[-2]))}"
    for listener in listeners(port):
        return holder(listener.inode)
    return "a connection, or a process that this user may not see"


def _bindable(port: int) -> bool:
    """Whether every address of this host, IPv4 and IPv6, has the port free."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # As servers do: connections of a server that has ended (TIME_WAIT) don't count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(("", port))
        except OSError as error:
            # Others (IPv6 is off; a port that needs privileges) are the server's to complain of.
            if error.errno == errno.EADDRINUSE:
                return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
