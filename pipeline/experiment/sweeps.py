"""Swept jobs of an experiment file laid out, so that everything behind it knows plain jobs only."""

from __future__ import annotations

from typing import Any

from evals.latency.settings import points

__all__ = ["swept"]


def swept(data: dict[str, Any]) -> dict[str, Any]:
    """Each latency job with a sweep replaced by one job a point, and its gates by theirs.

    Args:
        data: A merged experiment file with a mapping of jobs, not yet validated.

    Raises:
        ValueError: A point has the name of another job, or an axis is given twice.
    """
    jobs: dict[str, Any] = {}
    gates = dict(data["gates"]) if isinstance(data.get("gates"), dict) else None
    for name, job in data["jobs"].items():
        sweeps = isinstance(job, dict) and job.get("kind") == "latency"
        made = points(name, job) if sweeps else {name: job}
        clash = made.keys() & jobs.keys() | (made.keys() - {name}) & data["jobs"].keys()
        if clash:
            raise ValueError(f"jobs: {min(clash)} is a job and a point of the sweep {name}")
        jobs |= made
        if gates is not None and name not in made and isinstance(gates.get(name), dict):
            shared = gates.pop(name)
            gates |= {one: {**shared, **_mapping(gates.get(one))} for one in made}
    return {**data, "jobs": jobs, **({} if gates is None else {"gates": gates})}


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401
    return value if isinstance(value, dict) else {}
