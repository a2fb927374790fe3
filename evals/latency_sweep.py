"""One latency job for each point of a sweep: each has its own cells, records, gates and rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from pydantic import ValidationError

from evals.latency_settings import Sweep

__all__ = ["points"]

_AXES = ("input_len", "output_len", "concurrency")


def points(name: str, job: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The jobs of a sweep by name, in its order; the job itself where it has none.

    The axes turn like the digits of a counter, the concurrency fastest. A point is called
    ``NAME-INPUT-OUTPUT-CONCURRENCY``. A sweep that is wrong is left in place for the settings'
    own validation, which names the mistake.

    Args:
        name: The job's name.
        job: Its settings as written, not yet validated.

    Raises:
        ValueError: An axis is given twice, as a value and in the sweep.
    """
    if job.get("sweep") is None:
        return {name: dict(job)}
    try:
        sweep = Sweep.model_validate(job["sweep"])
    except ValidationError:
        # Stand-ins for the axes, so that nothing but the sweep is complained of.
        axes = job["sweep"] if isinstance(job["sweep"], dict) else {}
        return {name: {**dict.fromkeys(axes.keys() & set(_AXES), 2), **job}}
    lists = {axis: getattr(sweep, axis) for axis in _AXES}
    twice = [axis for axis in _AXES if lists[axis] is not None and axis in job]
    if twice:
        raise ValueError(f"jobs.{name}: {twice[0]} is given and swept; leave one of them out")
    plain = {key: value for key, value in job.items() if key != "sweep"}
    own = {"output_len": 256} | plain
    values = [lists[axis] if lists[axis] is not None else [own.get(axis)] for axis in _AXES]
    made: dict[str, dict[str, Any]] = {}
    for point in product(*values):
        told = dict(zip(_AXES, point, strict=True))
        label = "-".join(str(value) for value in point)
        made[f"{name}-{label}"] = plain | {k: v for k, v in told.items() if v is not None}
    return made
