"""What a metric may lose, and how far a gate that is undecided may be followed."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from evals.job import JobSettings
from evals.latency.job import LatencySettings
from pipeline.experiment.strict import Strict

__all__ = ["Gate", "Sequential", "followed"]


class Gate(Strict):
    """What a metric may lose against the reference arm, fixed before anything is measured."""

    margin: float = Field(
        gt=0,
        lt=1,
        description="For a score: the largest drop that is acceptable, as a fraction (0.02 is 2 "
        "points). For latency and throughput: the largest relative change (0.03 is 3 %). For "
        "logprob_shift: the largest mean shift in nats.",
    )
    floor: float | None = Field(
        default=None,
        description="For a score: every arm, the reference too, must be shown not to lie below it.",
    )


class Sequential(Strict):
    """How far an undecided speed may be followed; the error rates stay as they are."""

    max_launches: int = Field(
        ge=2,
        description="Launches of each arm and layout at most. After the planned ones, while a "
        "gated speed is undecided, one more block is run of the arms that need it.",
    )


def followed(jobs: Mapping[str, JobSettings]) -> list[str]:
    """Jobs whose speeds further launches can decide: latency on every launch."""
    return [
        name
        for name, job in jobs.items()
        if isinstance(job, LatencySettings) and job.launches is None
    ]
