"""An experiment file as strict, frozen models; every mistake in it is reported at once."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from evals import JOBS
from evals.accuracy.job import AccuracySettings
from evals.comm_kernels import CommKernelsSettings
from evals.latency.job import LatencySettings
from evals.logprobs.job import LogprobsSettings
from pipeline.experiment.arms import Arm
from pipeline.experiment.gates import Gate, Sequential
from pipeline.experiment.gpu_rule import GpuRule
from pipeline.experiment.layouts import Layout
from pipeline.experiment.quarantine import Quarantine
from pipeline.experiment.serving import EngineSpec, Model, Server
from pipeline.experiment.strict import Strict
from pipeline.experiment.sweeps import swept

__all__ = ["Experiment"]

_NAME = r"^[a-z0-9][a-z0-9._-]*$"

Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=60)]
JobSpec = Annotated[
    AccuracySettings | LatencySettings | LogprobsSettings | CommKernelsSettings,
    Field(discriminator="kind"),
]


class Experiment(Strict):
    """One experiment file."""

    name: Name
    description: str = ""
    model: Model
    engine: EngineSpec = EngineSpec()
    server: Server = Server()
    layouts: list[Layout] = Field(min_length=1)
    arms: dict[Name, Arm] = Field(min_length=1)
    reference: str = Field(description="The arm that the others are compared with.")
    baselines: list[str] = Field(
        default_factory=list,
        description="Further arms that somebody might run today: each other arm's speed is shown "
        "against each of them and the best of them, and a gain counts only against all.",
    )
    launches: int = Field(
        default=1, ge=1, description="Fresh server starts of each arm and layout: the replicates."
    )
    sequential: Sequential | None = Field(
        default=None,
        description="Whether an inconclusive gate on speed may buy more launches; null: no.",
    )
    seed: int = Field(default=0, ge=0, description="Rotates the order of arms; nothing else.")
    jobs: dict[Name, JobSpec] = Field(min_length=1)
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="One-sided error rate of every gate."
    )
    gates: dict[Name, dict[str, Gate]] = Field(
        default_factory=dict,
        description="Gates by job and metric; those of a swept job hold for each of its points.",
    )
    quarantine: list[Quarantine] = Field(
        default_factory=list,
        description="Known-bad cells that take no part in the verdict until a date.",
    )
    gpu_rule: GpuRule | None = Field(
        default=None,
        description="When a latency cell does not count because its GPUs were throttled; null: "
        "never. What was sampled is kept and told in any case.",
    )
    require_proof: bool = Field(
        default=False,
        description="true: an arm passes only if every proof of its path that was asked for was "
        "found, its decode kernels in a trace (a job of kind comm-kernels) included.",
    )

    @model_validator(mode="before")
    @classmethod
    def _job_defaults(cls, data: Any) -> Any:  # noqa: ANN401 - still raw YAML here
        if not isinstance(data, dict) or not isinstance(data.get("jobs"), dict):
            return data
        jobs = {
            name: JOBS[job["kind"]].defaults(name, job)
            if isinstance(job, dict) and job.get("kind") in JOBS
            else job
            for name, job in data["jobs"].items()
        }
        return swept({**data, "jobs": jobs})
