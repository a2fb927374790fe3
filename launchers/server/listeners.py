"""Who listens on a port: each socket there must be of the process tree that was started."""

from __future__ import annotations

import re
import shlex
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import psutil

from launchers.server.failures import FailureClass, ServerError

__all__ = ["Foreign", "Listener", "OwnPort", "holder", "listeners"]

_TABLES = (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6))
_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_LOOKS = 3
_PAUSE_S = 0.05
_NAMED = 3  # a server can have a socket for each of its workers
_SHOWN = 200  # characters of a command


class Foreign(ServerError):
    """A process that is not the server's listens on the server's port: nobody knows who answers."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A listening TCP socket: its inode, and its address as ``0.0.0.0:80`` or ``[::1]:80``."""

    inode: int
    address: str


class OwnPort:
    """The port of a server that this machine's kernel can be asked about.

    Args:
        port: Where the server is to listen.
        tree: Gives the ids of the server's processes that live now.
    """

    def __init__(self, port: int, tree: Callable[[], Iterable[int]]) -> None:
        self._port = port
        self._tree = tree
        self._own: set[int] = set()

    def __call__(self) -> bool:
        """Whether the server listens on its port, on whatever address.

        Raises:
            Foreign: Somebody else listens there too, or instead, on any address: behind a wildcard
                address, a more exact one or SO_REUSEPORT that is who may have answered.
        """
        there = listeners(self._port)
        strange = self._strange(there)
        for _ in range(_LOOKS - 1):
            if not strange:
                break
            # It may have been of a process of the server's that has just come or gone.
            time.sleep(_PAUSE_S)
            there = listeners(self._port)
            strange = self._strange(there)
        if strange:
            told = "; ".join(f"{holder(one.inode)}, on {one.address}" for one in strange[:_NAMED])
            raise Foreign(
                f"another program listens on the server's port {self._port}: {told}",
                FailureClass.PORT,
            )
        return bool(there)

    def _strange(self, there: list[Listener]) -> list[Listener]:
        inodes = {one.inode for one in there}
        if not inodes <= self._own:
            self._own = inodes & _sockets(self._tree())
        return [one for one in there if one.inode not in self._own]


def listeners(port: int) -> list[Listener]:
    """All TCP sockets that listen on `port` in this network namespace, on any address.

    Raises:
        OSError: The kernel does not tell (no /proc).
    """
    found = []
    ending = f":{port:04X}"
    for table, family in _TABLES:
        try:
            text = Path(table).read_text(encoding="ascii")
        except FileNotFoundError:
            if family == socket.AF_INET6:
                continue  # IPv6 is off
            raise
        # Columns: sl, local_address, rem_address, st, ..., inode (Linux, proc_net_tcp.rst).
        for line in text.splitlines()[1:]:
            if ending not in line:
                continue
            columns = line.split()
            if columns[3] == _LISTEN and columns[1].endswith(ending):
                address = _address(columns[1].partition(":")[0], family)
                found.append(Listener(inode=int(columns[9]), address=f"{address}:{port}"))
    return found


def holder(inode: int) -> str:
    """The process that has this socket, as far as this user may see."""
    for pid in psutil.pids():
        if inode in _sockets([pid]):
            with suppress(psutil.Error):
                command = shlex.join(psutil.Process(pid).cmdline())
                return f"pid {pid}: {shorten(command, _SHOWN, placeholder=' ...')}"
    return "a process this user may not see"


def _sockets(pids: Iterable[int]) -> set[int]:
    found = set()
    for pid in pids:
        # Gone in the meantime, or of another user.
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if match := _SOCKET.fullmatch(str(entry.readlink())):
                        found.add(int(match[1]))
    return found


def _address(text: str, family: socket.AddressFamily) -> str:
    # Words of 32 bits, each in the host's own order.
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    shown = socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
    return f"[{shown}]" if family == socket.AF_INET6 else shown
