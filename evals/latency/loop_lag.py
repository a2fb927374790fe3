"""How late a client's event loop reads what has arrived, sampled while the client measures.

Both benchmark clients use it, SGLang's on the engine's own interpreter, which may be Python 3.10
and need not have servegate: the standard library alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import time
from pathlib import Path

_PERIOD_S = 0.005
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME of <sys/timerfd.h>


class LoopLag:
    """Delays between a kernel timer's expiries and the loop's reading of them.

    A timerfd becomes readable as a socket does, so its reader waits as long as the reader of a
    token: for a core, and for the callbacks before it. ``asyncio.sleep`` would not show delays
    below 1 ms, since epoll counts in whole milliseconds. Every expiry gives a sample, also those
    that one late read finds together: the samples are spread evenly over time.
    """

    def __init__(self) -> None:
        self._delays: list[float] = []
        self._fd = -1
        self._due = 0.0
        self._began = 0.0
        self._cpu_began = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._summary: dict[str, float] = {}

    def start(self) -> None:
        """Begin to sample the running loop.

        Raises:
            OSError: The kernel gives no timer.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        # CLOCK_MONOTONIC is the clock of time.perf_counter on Linux.
        fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._delays = []
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._due = self._began + _PERIOD_S
        period = divmod(round(_PERIOD_S * 1e9), 10**9)
        first = divmod(round(self._due * 1e9), 10**9)
        spec = (ctypes.c_long * 4)(*period, *first)  # struct itimerspec: interval, value
        if libc.timerfd_settime(fd, _ABSOLUTE, ctypes.byref(spec), None) < 0:
            os.close(fd)
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")
        self._fd, self._loop = fd, asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        now = time.perf_counter()
        try:
            expiries = int.from_bytes(os.read(self._fd, 8), "little")
        except BlockingIOError:
            return
        for _ in range(expiries):
            self._delays.append(max(0.0, now - self._due))
            self._due += _PERIOD_S

    def stop(self) -> None:
        """Stop sampling; a second call changes nothing."""
        if self._loop is None:
            return
        seconds = time.perf_counter() - self._began
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._loop = None
        delays = sorted(1000 * delay for delay in self._delays)
        if delays:
            self._summary = {
                "samples": len(delays),
                "mean_ms": sum(delays) / len(delays),
                "median_ms": delays[len(delays) // 2],
                "p99_ms": delays[99 * len(delays) // 100],
                "max_ms": delays[-1],
                "cpu_share": (time.process_time() - self._cpu_began) / seconds,
            }

    def write(self, file: Path) -> None:
        """Write the last sampling as JSON: delays in ms, and the share of a core that was used.

        Without a sample since the last call there is no file.
        """
        if self._summary:
            rounded = {name: round(value, 4) for name, value in self._summary.items()}
            file.write_text(json.dumps(rounded) + "\n", encoding="utf-8")
        self._summary = {}
