"""How much the host's cores were asked for while a job ran: load average and CPU pressure."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

__all__ = ["HostLoad", "HostWatch"]

_PROC = Path("/proc")
_PERIOD_S = 1.0  # the kernel itself updates the load average every five seconds


class HostLoad(BaseModel):
    """What the host showed around and during a job.

    Attributes:
        usable_cores: Cores that this process may run on.
        host_cores: Cores of the host, which load and pressure are of, also in a container.
        load_before: Load average over one minute, before the job.
        load_after: The same after it.
        load_max: The highest seen.
        pressure: Share of the job's time in which some task of the host waited for a core (`some`
            of /proc/pressure/cpu); None: the kernel does not say.
        pressure_max: The highest average over ten seconds that was seen, a share; None likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usable_cores: int
    host_cores: int
    load_before: float
    load_after: float
    load_max: float
    pressure: float | None
    pressure_max: float | None


class _Pressure(NamedTuple):
    recent: float  # average over ten seconds, a share
    total_s: float


class HostWatch:
    """Reads the host's load when made, on every :meth:`look`, and in :meth:`summary`."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._file = proc / "pressure" / "cpu"
        self._looked = self._began = time.monotonic()
        self._first = self._pressure()
        self._loads = [os.getloadavg()[0]]
        self._recent = [] if self._first is None else [self._first.recent]

    def look(self) -> None:
        """Read again, at most once a second."""
        if time.monotonic() - self._looked >= _PERIOD_S:
            self._look()

    def _look(self) -> _Pressure | None:
        self._looked = time.monotonic()
        self._loads.append(os.getloadavg()[0])
        pressure = self._pressure()
        if pressure is not None:
            self._recent.append(pressure.recent)
        return pressure

    def summary(self) -> HostLoad:
        """What was seen from the beginning until now."""
        last = self._look()
        seconds = self._looked - self._began
        share = None
        if self._first is not None and last is not None and seconds > 0:
            share = min(1.0, (last.total_s - self._first.total_s) / seconds)
        host_cores = os.cpu_count()
        usable = len(os.sched_getaffinity(0))
        return HostLoad(
            usable_cores=usable,
            host_cores=usable if host_cores is None else host_cores,
            load_before=round(self._loads[0], 2),
            load_after=round(self._loads[-1], 2),
            load_max=round(max(self._loads), 2),
            pressure=None if share is None else round(share, 4),
            pressure_max=round(max(self._recent), 4) if self._recent else None,
        )

    def _pressure(self) -> _Pressure | None:
        """``some avg10=2.46 avg60=1.91 avg300=0.81 total=4560694``: percent, and microseconds."""
        try:
            words = self._file.read_text(encoding="ascii").splitlines()[0].split()
            told = dict(word.split("=") for word in words[1:])
            return _Pressure(float(told["avg10"]) / 100, int(told["total"]) / 1e6)
        except (OSError, ValueError, KeyError, IndexError):
            return None
