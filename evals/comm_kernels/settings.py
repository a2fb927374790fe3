"""The settings of the comm-kernels job."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evals.job import JobSettings

__all__ = ["COMMUNICATION", "CommKernelsSettings"]


COMMUNICATION = (
    "comm_with_imbalance_ms",
    "comm_without_imbalance_ms",
    "comm_span_ms",
    "comm_exposed_ms",
    "comm_kernels_per_step",
)
"""What communication costs a step, and so what a gate may hold an arm to."""


class CommKernelsSettings(JobSettings):
    """What is traced; equal in all arms."""

    kind: Literal["comm-kernels"] = Field(
        description="A short trace of decode steps, on a launch of its own."
    )
    capture: Literal["torch", "nsys"] = Field(
        default="torch",
        description="torch: SGLang's own profiler. nsys: Nsight Systems, under which the server is "
        "then started; it must be on PATH.",
    )
    concurrency: int = Field(default=16, ge=1, description="Requests that decode together.")
    input_len: int = Field(default=32, ge=1, description="Tokens of each prompt.")
    output_len: int = Field(
        default=96,
        ge=8,
        description="Tokens of each answer; must outlast the traced steps. Under "
        "nsys 2048 where nothing is said, since nsys takes a second and more to begin.",
    )
    steps: int = Field(default=10, ge=4, description="Steps to trace; the first and last are cut.")
    layers: int | None = Field(
        default=None,
        ge=1,
        description="Layers with experts, for the expected number of kernels; null: "
        "num_hidden_layers of a local model's config.json.",
    )
    trace_timeout_s: float = Field(
        default=300.0, gt=0, description="Longest wait for the files of all ranks."
    )
