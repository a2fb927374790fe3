"""About how many GPU hours an experiment takes, and what that assumes; pure."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from evals.accuracy import AccuracySettings
from evals.latency import LatencySettings
from pipeline.power.basis import (
    ASSUMED_START_S,
    Basis,
    JobBasis,
    assumed_pace,
    gated_launches,
    layouts_of,
    questions_of,
)
from pipeline.spec.experiment import Experiment

__all__ = ["Cost", "costs"]

# Of a request in flight; the prompts of a wave are taken to cost as much again as a tenth of it.
_ITL_S = 0.025
_PREFILL = 1.1


class Cost(BaseModel):
    """What one job takes over all arms, layouts and launches; or the starts of the servers.

    Attributes:
        hours: Of servers, one after another; None: not known.
        gpu_hours: Hours times the GPUs of each layout; None: not known.
        told: What was assumed or measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    hours: float | None
    gpu_hours: float | None
    told: str


def costs(experiment: Experiment, basis: Basis) -> list[Cost]:
    """By job, and the starts of servers as ``server starts``; none where no GPU serves."""
    if experiment.engine.device != "cuda" or experiment.engine.name != "sglang":
        return []
    layouts, arms = layouts_of(experiment), len(experiment.arms)
    made: list[Cost] = []

    def add(job: str, seconds: float | None, launches: int, told: str) -> None:
        each = None if seconds is None else seconds * launches * arms / 3600
        made.append(
            Cost(
                job=job,
                hours=None if each is None else each * len(layouts),
                gpu_hours=None if each is None else each * sum(layouts),
                told=told,
            )
        )

    for name, job in experiment.jobs.items():
        launches = gated_launches(name, experiment)
        if isinstance(job, AccuracySettings):
            add(name, *_accuracy(name, job, experiment, basis, launches))
        elif isinstance(job, LatencySettings):
            waves = -(-job.num_prompts // job.concurrency)
            seconds = job.runs * waves * job.output_len * _ITL_S * _PREFILL
            add(name, seconds, launches, f"assumed: {1000 * _ITL_S:g} ms between tokens")
        else:
            add(name, None, launches, "not estimated: short beside a start")
    told = f"assumed: {ASSUMED_START_S:g} s from start to first token"
    add("server starts", ASSUMED_START_S, experiment.launches, told)
    return made


def _accuracy(
    name: str, job: AccuracySettings, experiment: Experiment, basis: Basis, launches: int
) -> tuple[float | None, int, str]:
    """Seconds on one server, launches, and what that rests on."""
    questions = questions_of(name, experiment, basis)
    if questions is None:
        return None, launches, "not known how many questions there are; set examples"
    seen = basis.get(name, JobBasis())
    if seen.tokens is not None and seen.tokens_per_s is not None:
        tokens, rate = seen.tokens, seen.tokens_per_s
        told = f"measured: {tokens:.0f} tokens an answer, {rate:.0f} tokens/s a server"
    else:
        tokens, rate, told = assumed_pace(job)
    return questions * job.repeats * tokens / rate, launches, told
