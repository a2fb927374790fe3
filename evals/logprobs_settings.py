"""The settings of the logprobs job."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evals.job import JobSettings

__all__ = ["LogprobsSettings"]


class LogprobsSettings(JobSettings):
    """How log-probabilities are asked for; equal in all arms."""

    kind: Literal["logprobs"] = Field(
        description="Log-probabilities after fixed texts, step by step in decode."
    )
    data: str | None = Field(
        default=None,
        description="A .jsonl file with id and text on each line; null: the forty short texts that "
        "servegate brings.",
    )
    steps: int = Field(
        default=8,
        ge=2,
        description="Tokens to decode greedily after each text; the first comes from prefill.",
    )
    top: int = Field(default=5, ge=1, le=20, description="Likeliest tokens kept of each step.")
    repeats: int = Field(
        default=2,
        ge=1,
        description="How often each text is asked on one launch; from 2 on they show what batching "
        "changes by itself.",
    )
    concurrency: int = Field(default=16, ge=1, description="Requests kept in flight.")
    request_timeout_s: float = Field(default=600.0, gt=0, description="Longest wait for one text.")
