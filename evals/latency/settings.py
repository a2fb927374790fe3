"""The settings of the latency job: the load that is put on the server."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evals.job import JobSettings

_Tokens = Annotated[int, Field(ge=1)]
_AXES = ("input_len", "output_len", "concurrency")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sweep(_Strict):
    """Values of each axis; every combination becomes a job."""

    input_len: list[_Tokens] | None = Field(default=None, min_length=1)
    output_len: list[Annotated[int, Field(ge=2)]] | None = Field(default=None, min_length=1)
    concurrency: list[_Tokens] | None = Field(default=None, min_length=1)


class Goal(_Strict):
    """What one request must keep to be good; a time that is left out is not asked for."""

    ttft_ms: float | None = Field(default=None, gt=0, description="Time to the first token.")
    tpot_ms: float | None = Field(
        default=None, gt=0, description="Time of an output token after the first, its mean."
    )
    e2e_ms: float | None = Field(default=None, gt=0, description="Time to the last token.")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.ttft_ms is None and self.tpot_ms is None and self.e2e_ms is None:
            raise ValueError("give at least one of ttft_ms, tpot_ms and e2e_ms")
        return self


def _sweep_or_lengths(schema: dict[str, Any]) -> None:
    """A file says each axis once, as a value or in the sweep; servegate itself checks which."""
    schema["required"] = [name for name in schema.get("required", []) if name not in _AXES]


class LatencySettings(JobSettings):
    """What load is put on the server, equal in all arms."""

    model_config = ConfigDict(json_schema_extra=_sweep_or_lengths)

    kind: Literal["latency"] = Field(description="SGLang's serving benchmark.")
    sweep: Sweep | None = Field(
        default=None,
        description="Lists of input_len, output_len and concurrency: one job for each combination, "
        "called NAME-INPUT-OUTPUT-CONCURRENCY. A gate on NAME holds for all of them.",
    )
    dataset: Literal["random-ids", "random"] = Field(
        default="random-ids",
        description="random-ids: random tokens, needs no file; random: texts of a ShareGPT file.",
    )
    dataset_path: str | None = Field(
        default=None, description="The ShareGPT JSON file of the dataset `random`."
    )
    input_len: int = Field(ge=1, description="Tokens of a prompt.")
    output_len: int = Field(
        default=256,
        ge=2,
        description="Tokens of an answer; two give the first gap, and a median ITL that repeats "
        "wants some hundred decode steps.",
    )
    range_ratio: float = Field(
        default=1.0, gt=0, le=1, description="Lengths vary from this share of them; 1: fixed."
    )
    concurrency: int = Field(ge=1, description="Requests kept in flight.")
    prompts: int | None = Field(
        default=None, ge=1, description="Requests of a run; null: waves times the concurrency."
    )
    waves: int = Field(
        default=1, ge=1, description="Where prompts is null: how often the batch is filled."
    )
    request_rate: float | None = Field(
        default=None, gt=0, description="Requests a second; null: all at once."
    )
    runs: int = Field(default=1, ge=1, description="Measurements on one launch, one by one.")
    drop_first_run: bool = Field(
        default=False, description="Leave the first run out of the cell's value."
    )
    warmup_requests: int = Field(default=1, ge=0, description="Requests before each run.")
    flush_cache: bool = Field(
        default=True, description="Empty the prefix cache between warm-up and run."
    )
    tokenize_prompt: bool = Field(
        default=False, description="Send token ids, not text: the lengths are then exact."
    )
    goodput: Goal | None = Field(
        default=None,
        description="Count requests that keep these times: goodput and slo_attainment.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the prompts.")
    backend: str = Field(default="sglang", description="Request format of the benchmark.")
    extra_args: dict[str, str | int | float | bool | None] = Field(
        default={},
        description="More flags of sglang.benchmark.serving, without dashes in front; true for a "
        "flag without value, false or null to leave one out.",
    )
    client: Literal["auto", "sglang"] = Field(
        default="auto",
        description="auto: servegate's own light client on the fake engine, which works without "
        "SGLang installed, else SGLang's; sglang: always SGLang's.",
    )

    @property
    def num_prompts(self) -> int:
        """Requests of one run."""
        return self.concurrency * self.waves if self.prompts is None else self.prompts


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
