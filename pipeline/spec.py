"""An experiment file as strict, frozen models; every mistake in it is reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from evals import JOBS
from evals.accuracy import AccuracySettings
from evals.comm_kernels import CommKernelsSettings
from evals.job import JobSettings
from evals.latency import LatencySettings
from evals.logprobs import LogprobsSettings
from launchers.backends import BACKENDS, ArgValue
from launchers.engines import ENGINE_VERSIONS
from launchers.models import MODELS
from pipeline.gpu_rule import GpuRule
from pipeline.sweeps import swept

__all__ = [
    "Arm", "EngineSpec", "Experiment", "Gate", "Layout", "Quarantine", "Sequential", "followed",
]  # fmt: skip

# A known-bad cell is mended within a month, or its quarantine is renewed by somebody who looked.
_LONGEST_QUARANTINE_DAYS = 30

_NAME = r"^[a-z0-9][a-z0-9._-]*$"
_FLAG = re.compile(r"^[a-z][a-z0-9-]*$")
_FACT = re.compile(
    r"^(?:arguments|environment|rank_environment|packages|libraries|machine|gpu)\..+$"
)

Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=60)]
Args = dict[str, ArgValue]
Env = dict[str, str]
JobSpec = Annotated[
    AccuracySettings | LatencySettings | LogprobsSettings | CommKernelsSettings,
    Field(discriminator="kind"),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _check_args(args: Args, owned: frozenset[str]) -> Args:
    for flag in args:
        if not _FLAG.match(flag):
            raise ValueError(f"flag {flag!r} must be written without dashes in front, as tp-size")
        if flag in owned:
            raise ValueError(f"flag {flag!r} is set by servegate from {_OWNED[flag]}; use that")
    return args


# Flags that servegate writes itself, and the key that a user sets instead.
_OWNED = {
    "host": "server.host",
    "port": "server.port",
    "model": "model.path",
    "model-path": "model.path",
    "served-model-name": "model.served_name",
    "tp": "layouts[].tp",
    "tp-size": "layouts[].tp",
    "tensor-parallel-size": "layouts[].tp",
    "dp": "layouts[].attention_dp",
    "dp-size": "layouts[].attention_dp",
    "data-parallel-size": "layouts[].attention_dp",
    "attn-dp-size": "layouts[].attention_dp",
    "enable-dp-attention": "layouts[].attention_dp",
    "ep": "layouts[].ep",
    "ep-size": "layouts[].ep",
    "expert-parallel-size": "layouts[].ep",
    "nnodes": "layouts[].nodes",
}
_OWNED_ENV = {
    "SGLANG_PLUGINS": "server.plugins",
    "SERVEGATE_WITNESS_DIR": "nothing: servegate sets it for each launch",
}


class _WithArgs(_Strict):
    args: Args = Field(
        default_factory=dict,
        description="Server flags by name without dashes: true is a bare flag, false or null "
        "leaves it out, a list gives several values, a mapping is passed as JSON.",
    )
    env: Env = Field(default_factory=dict, description="Environment variables; quote the values.")

    @field_validator("args")
    @classmethod
    def _own_flags(cls, args: Args) -> Args:
        return _check_args(args, frozenset(_OWNED))

    @field_validator("env")
    @classmethod
    def _own_env(cls, env: Env) -> Env:
        for name in env:
            if name in _OWNED_ENV:
                raise ValueError(f"{name} is set by servegate; use {_OWNED_ENV[name]}")
        return env


class Model(_Strict):
    """The model that every arm serves."""

    path: str | None = Field(default=None, description="Folder or hub name of the model.")
    prepare: str | None = Field(
        default=None, description=f"A model that servegate makes itself: {', '.join(MODELS)}."
    )
    served_name: str | None = Field(default=None, description="Name under /v1/models.")
    tokenizer: str | None = Field(
        default=None, description="Tokenizer for the benchmark client; null: the model's own."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.prepare is None):
            raise ValueError("give exactly one of path and prepare")
        if self.prepare is not None and self.prepare not in MODELS:
            raise ValueError(f"prepare: unknown {self.prepare!r}; known: {', '.join(MODELS)}")
        return self


class EngineSpec(_Strict):
    """What serves: the real SGLang, or the fake engine that only speaks like it."""

    name: Literal["sglang", "fake"] = "sglang"
    version: str = Field(
        default=ENGINE_VERSIONS[-1],
        pattern=r"^\d+\.\d+\.\d+",
        description="The SGLang version whose flags are written; must be the installed one.",
    )
    device: Literal["cuda", "cpu"] = Field(
        default="cuda",
        description="cpu: SGLang through servegate's platform plugin, no GPU needed.",
    )
    python: str | None = Field(
        default=None, description="Interpreter that has SGLang; null: servegate's own."
    )
    fake: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the fake engine for all arms."
    )


class Server(_WithArgs):
    """Flags and environment that all arms share, and how a server is reached and waited for."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535, description="null: any free port.")
    plugins: list[str] = Field(
        default_factory=list,
        description="SGLang plugins that all arms load. SGLANG_PLUGINS is always set explicitly, "
        "so that the arms differ in nothing but what they declare.",
    )
    ready_timeout_s: float = Field(default=1800.0, gt=0)
    stop_timeout_s: float = Field(default=60.0, gt=0)


class Layout(_Strict):
    """How a server is spread. Each attention DP size is a layout of its own."""

    tp: int = Field(ge=1, description="Tensor parallel size: all ranks of the server.")
    attention_dp: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Attention DP sizes; each must divide tp. 1: no attention DP."
    )
    ep: int = Field(default=1, ge=1, description="Expert parallel size; must divide tp.")
    nodes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        wrong = [dp for dp in self.attention_dp if self.tp % dp]
        if wrong:
            divisors = [d for d in range(1, self.tp + 1) if self.tp % d == 0]
            raise ValueError(
                f"attention_dp {wrong} does not divide tp {self.tp}; possible: {divisors}"
            )
        if len(set(self.attention_dp)) != len(self.attention_dp):
            raise ValueError(f"attention_dp {self.attention_dp} names a size twice")
        if self.tp % self.ep:
            raise ValueError(f"ep {self.ep} does not divide tp {self.tp}")
        if self.tp % self.nodes:
            raise ValueError(f"nodes {self.nodes} does not divide tp {self.tp}")
        return self


class Arm(_WithArgs):
    """One side of the comparison: a preset, free flags and environment, or both."""

    preset: str | None = Field(
        default=None, description=f"A communication backend: {', '.join(BACKENDS)}."
    )
    plugins: list[str] = Field(default_factory=list, description="Further SGLang plugins.")
    fake: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the fake engine for this arm; else unused."
    )
    differs: list[str] = Field(
        default_factory=list,
        description="In what else this arm may differ from the reference, as patterns of facts: "
        "arguments.NAME, environment.NAME, rank_environment.NAME, packages.NAME, libraries.NAME, "
        "machine.NAME, gpu.NAME. Everything else that differs makes the arms not comparable.",
    )

    @field_validator("differs")
    @classmethod
    def _facts(cls, differs: list[str]) -> list[str]:
        for pattern in differs:
            if not _FACT.match(pattern):
                raise ValueError(
                    f"{pattern!r} names no fact; write it as a report does, such as "
                    "arguments.page_size or packages.torch"
                )
        return differs

    @field_validator("preset")
    @classmethod
    def _known(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in BACKENDS:
            raise ValueError(f"unknown preset {preset!r}; known: {', '.join(BACKENDS)}")
        return preset


class Gate(_Strict):
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


def followed(jobs: Mapping[str, JobSettings]) -> list[str]:
    """Jobs whose speeds further launches can decide: latency on every launch."""
    return [
        name
        for name, job in jobs.items()
        if isinstance(job, LatencySettings) and job.launches is None
    ]


class Sequential(_Strict):
    """How far an undecided speed may be followed; the error rates stay as they are."""

    max_launches: int = Field(
        ge=2,
        description="Launches of each arm and layout at most. After the planned ones, while a "
        "gated speed is undecided, one more block is run of the arms that need it.",
    )


class Quarantine(_Strict):
    """A known-bad cell that is shown but takes no part in the verdict, for a while.

    Patterns are those of a shell (``*``, ``?``, ``[...]``); ``*`` takes all. A day is one in UTC,
    and the day of a run is that on which its last record ended.
    """

    layout: str = Field(default="*", description="A layout as reports name it: tp8-dp2-ep4.")
    arm: str = Field(description="The arm.")
    job: str = Field(default="*", description="The job.")
    metric: str = Field(default="*", description="The gated metric.")
    owner: str = Field(min_length=1, description="Who sees to it.")
    note: str = Field(min_length=1, description="What is known, and where it is followed.")
    since: date = Field(strict=False, description="First day.")
    until: date = Field(strict=False, description="Last day; at most 30 days after the first.")

    @field_validator("owner", "note")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must say something: nobody follows a quarantine without it")
        return text

    @model_validator(mode="after")
    def _ends(self) -> Self:
        days = (self.until - self.since).days
        if not 0 <= days <= _LONGEST_QUARANTINE_DAYS:
            raise ValueError(
                f"until {self.until} is {days} days after since {self.since}; allowed are 0 to "
                f"{_LONGEST_QUARANTINE_DAYS}: renew it when somebody has looked again"
            )
        return self

    @property
    def whole_row(self) -> bool:
        """Whether it sets all of a row aside."""
        return self.job == self.metric == "*"

    def covers(self, job: str, metric: str) -> bool:
        """Whether it holds for this gate of a row that it holds for."""
        return fnmatchcase(job, self.job) and fnmatchcase(metric, self.metric)


class Experiment(_Strict):
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
