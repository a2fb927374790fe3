"""What a server's GPUs do while a cell runs, and whether that lets the cell count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from evals.job import Outcome
from launchers.machine.gpu_sampler import Sampling, sampled
from pipeline.experiment.gpu_rule import breach
from pipeline.plan.model import Cell, Launch, Plan
from pipeline.records.folder import CellFolder

__all__ = ["gpus_watched", "with_gpus"]


@contextmanager
def gpus_watched(plan: Plan, launch: Launch, place: CellFolder) -> Iterator[Sampling | None]:
    """The server's GPUs sampled meanwhile; None where none serves."""
    if (plan.engine, plan.device) != ("sglang", "cuda"):
        yield None
        return
    with sampled(place.gpu_samples, {**os.environ, **launch.env}) as sampling:
        yield sampling


def with_gpus(plan: Plan, cell: Cell, outcome: Outcome, sampling: Sampling | None) -> Outcome:
    """The outcome with what its GPUs did; invalid if that breaks the experiment's rule."""
    if sampling is None:
        return outcome
    summary = sampling.summary()
    outcome = replace(outcome, details={**outcome.details, "gpu": summary})
    rule = plan.gpu_rule
    if rule is None or cell.kind != "latency" or outcome.status != "ok":
        return outcome
    broken = breach(rule, summary)
    if broken is None:
        return outcome
    return replace(outcome, status="invalid", failure_class=broken[0], reason=broken[1])
