"""What the kernel tells of the scheduler processes that a server started, one for each rank."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["environments", "libraries", "scheduler_pids"]

_TITLE = "sglang::scheduler"

# Shared objects that decide which communication kernels there are, by the beginning of their name.
_LIBRARIES = ("libnccl.so", "libnccl-net", "libnvshmem", "libcuda.so")


def scheduler_pids(leader: int, info: Mapping[str, Any]) -> list[int]:
    """The scheduler processes of the server that `leader` is, in the order of their ids.

    0.5.23 names them in /server_info. Older versions do not, and are known by the title that SGLang
    gives them (srt/managers/scheduler.py, since before 0.5.16).
    """
    pids = info.get("scheduler_pids")
    if isinstance(pids, list):
        return sorted(pid for pid in pids if isinstance(pid, int) and not isinstance(pid, bool))
    try:
        below = psutil.Process(leader).children(recursive=True)
        return sorted(one.pid for one in below if "".join(one.cmdline()).startswith(_TITLE))
    except (psutil.Error, OSError):
        return []


def environments(leader: int, pids: Iterable[int]) -> dict[int, dict[str, str]]:
    """The environment that each process was started with, by id.

    Only of processes below `leader`: a number in an answer over HTTP is no proof by itself. One
    that is gone or cannot be read is left out. SGLang retitles its schedulers, which overwrites
    what the kernel shows here unless SPT_NOENV is set (py-setproctitle, README).
    """
    found = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if leader in {parent.pid for parent in process.parents()}:
                found[pid] = dict(process.environ())
        except (psutil.Error, OSError):
            continue
    return found


def libraries(pid: int) -> dict[str, str]:
    """Files of the communication libraries that a process has mapped, by name, with their size.

    The version of a package says nothing where LD_LIBRARY_PATH or LD_PRELOAD brings another file.
    """
    try:
        paths = {entry.path for entry in psutil.Process(pid).memory_maps()}
    except (psutil.Error, OSError):
        return {}
    found = {}
    for path in sorted(paths):
        name = Path(path).name
        if name.startswith(_LIBRARIES):
            try:
                found[name] = f"{path}, {os.stat(path).st_size} bytes"  # noqa: PTH116 - no Path made
            except OSError:
                found[name] = path
    return found
