"""Whether the client kept up with the server that it measured, or its machine was too busy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from evals.latency.checks import events_ms

__all__ = [
    "BUSY_HOST",
    "LOAD_CLASSES",
    "STARVED",
    "ClientLoad",
    "Lag",
    "client_load",
    "kept_problem",
    "read_lag",
]

STARVED = "starved-client"
BUSY_HOST = "busy-host"
LOAD_CLASSES = frozenset({STARVED, BUSY_HOST})
"""Failure classes of cells that are invalid for the load of the machine alone."""

# The client's loop may be late by this share of the ITL that it reports, on average over time. A
# client that reads each step's tokens in one go reaches it when it is busy 70 % of the time.
_MOST_LAG = 0.25
# No server decodes 5,000 steps a second: two events of one request that were read within this
# time had been waiting, in the client or in the server.
_AT_ONCE_MS = 0.2
_MOST_AT_ONCE = 0.10
# While the whole batch decodes, nothing but decode steps lies between two events, whether they
# bring one token or several. Their median and mean, of which ITL and TPOT are made, then agree.
_LEAST_OF_MEAN = 0.5


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Lag(_Kept):
    """How late the client's event loop was (:mod:`evals.latency.loop_lag`), in ms.

    ``cpu_share`` is the share of one core that the client used.
    """

    samples: int
    mean_ms: float
    median_ms: float
    p99_ms: float
    max_ms: float
    cpu_share: float


class ClientLoad(_Kept):
    """What one run shows of the client that measured it.

    Attributes:
        itl_ms: The median ITL that it reports.
        lag: None: not sampled, by an older servegate or another tool.
        read_at_once: Share of events that were read at once with the one before.
        step_median_ms: Median time from event to event in the full batch; None: it was never full.
        step_mean_ms: Their mean without the longest 5 %.
    """

    itl_ms: float
    lag: Lag | None
    read_at_once: float
    step_median_ms: float | None
    step_mean_ms: float | None

    def problem(self) -> str:
        """Why the run's times are the client's and not the server's; "" if they are not."""
        if self.lag is not None and self.lag.mean_ms > _MOST_LAG * self.itl_ms > 0:
            return (
                f"the client's event loop was {self.lag.mean_ms:.3g} ms late on average, "
                f"{self.lag.mean_ms / self.itl_ms:.0%} of the median ITL of {self.itl_ms:.3g} ms "
                f"that it reports ({_MOST_LAG:.0%} at most)"
            )
        if self.read_at_once > _MOST_AT_ONCE:
            return (
                f"{self.read_at_once:.0%} of the events were read within {_AT_ONCE_MS:g} ms of the "
                f"one before ({_MOST_AT_ONCE:.0%} at most): they had been waiting to be read"
            )
        median, mean = self.step_median_ms, self.step_mean_ms
        if median is not None and mean is not None and median < _LEAST_OF_MEAN * mean:
            return (
                f"ITL and TPOT do not agree: with the full batch decoding, the median time "
                f"between events is {median:.3g} ms and their mean {mean:.3g} ms, the longest 5 % "
                "left out"
            )
        return ""


def client_load(
    row: Mapping[str, Any], lag: Lag | None, full_batch: Mapping[str, Any]
) -> ClientLoad:
    """The load of one run whose times are usable and which has a gap.

    Args:
        row: The run.
        lag: What was sampled meanwhile.
        full_batch: What :func:`evals.latency.goodput.request_metrics` tells of it.
    """
    events = events_ms(row)
    return ClientLoad(
        itl_ms=row["median_itl_ms"],
        lag=lag,
        read_at_once=sum(event < _AT_ONCE_MS for event in events) / len(events),
        step_median_ms=full_batch.get("step_median_ms"),
        step_mean_ms=full_batch.get("step_mean_ms"),
    )


def read_lag(file: Path) -> Lag | None:
    """What :meth:`evals.latency.loop_lag.LoopLag.write` wrote; None: there is nothing of it."""
    try:
        return Lag.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def kept_problem(loads: Iterable[object]) -> str:
    """The first problem that a record's own details show, as they were kept; "" if none."""
    for kept in loads:
        try:
            problem = ClientLoad.model_validate(kept).problem()
        except ValidationError:
            continue
        if problem:
            return problem
    return ""
