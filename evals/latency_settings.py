"""The settings of the latency job: the load that is put on the server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evals.job import JobSettings

__all__ = ["LatencySettings"]


class LatencySettings(JobSettings):
    """What load is put on the server, equal in all arms."""

    kind: Literal["latency"] = Field(description="SGLang's serving benchmark.")
    dataset: Literal["random-ids", "random"] = Field(
        default="random-ids",
        description="random-ids: random tokens, needs no file; random: texts of a ShareGPT file.",
    )
    dataset_path: str | None = Field(
        default=None, description="The ShareGPT JSON file of the dataset `random`."
    )
    input_len: int = Field(ge=1, description="Tokens of a prompt.")
    output_len: int = Field(ge=2, description="Tokens of an answer; two give the first gap.")
    range_ratio: float = Field(
        default=1.0, gt=0, le=1, description="Lengths vary from this share of them; 1: fixed."
    )
    concurrency: int = Field(ge=1, description="Requests kept in flight.")
    prompts: int | None = Field(
        default=None, ge=1, description="Requests of a run; null: as many as the concurrency."
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
        return self.concurrency if self.prompts is None else self.prompts
