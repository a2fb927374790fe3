"""Whether the host left a cell on GPUs the cores that it needed; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import ValidationError

from evals.job import Outcome
from evals.latency.client_load import BUSY_HOST
from launchers.machine.host_load import HostLoad
from pipeline.plan.model import Cell, Plan
from pipeline.records.record import Record

__all__ = ["busy_notes", "with_host"]

# Both together: on a large host some task nearly always waits, and a load average also counts
# tasks that wait for a disk.
_MOST_PRESSURE = 0.5


def with_host(plan: Plan, cell: Cell, outcome: Outcome, load: HostLoad) -> Outcome:
    """The outcome with the host's load; on GPUs a latency cell of an overloaded host is invalid.

    On a CPU the servers themselves take all cores, so that the load alone says nothing there: the
    client's own lag does.
    """
    outcome = replace(outcome, details={**outcome.details, "host": load.model_dump()})
    judged = (plan.engine, plan.device) == ("sglang", "cuda") and cell.kind == "latency"
    if not judged or outcome.status != "ok" or (reason := _overloaded(load)) is None:
        return outcome
    return replace(outcome, status="invalid", failure_class=BUSY_HOST, reason=reason)


def busy_notes(records: Iterable[Record]) -> list[str]:
    """What a reader must know of the host's load while latency was measured; at most one note."""
    loads: list[HostLoad] = []
    for record in records:
        if record.kind == "latency" and "host" in record.details:
            try:
                loads.append(HostLoad.model_validate(record.details["host"]))
            except ValidationError:
                continue
    busy = [one for one in loads if one.pressure is not None and one.pressure > _MOST_PRESSURE]
    if not busy:
        return []
    worst = max(busy, key=lambda one: one.pressure if one.pressure is not None else 0.0)
    note = (
        f"busy host: in {len(busy)} of {len(loads)} latency cells some task waited for a core more "
        f"than {_MOST_PRESSURE:.0%} of the time, at most {worst.pressure:.0%} with a load average "
        f"of {worst.load_max:g} on {worst.host_cores} cores"
    )
    return [note]


def _overloaded(load: HostLoad) -> str | None:
    if load.pressure is None or load.pressure <= _MOST_PRESSURE:
        return None
    if load.load_max <= load.host_cores:
        return None
    return (
        f"some task waited for a core in {load.pressure:.0%} of the job's time (at most "
        f"{_MOST_PRESSURE:.0%}), with a load average of {load.load_max:g} on {load.host_cores} "
        "cores; end what else runs on this host"
    )
