"""The settings of the accuracy job: what is asked, how often, and how answers are sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from evals.job import JobSettings

__all__ = ["BENCHMARKS", "AccuracySettings", "shots_path"]

# Names in sgl-eval 0.1.3's table (a test compares), without importing it, which takes a second.
BENCHMARKS = (
    "aime24",
    "aime25",
    "aime26",
    "gpqa",
    "gsm8k",
    "mmlu",
    "mmlu_pro",
    "mmmu_pro",
    "mmmu_pro_vision",
)


class AccuracySettings(JobSettings):
    """How a benchmark is asked; equal in all arms."""

    kind: Literal["accuracy"] = Field(description="A benchmark's questions, marked.")
    benchmark: str = Field(
        description="A benchmark of sgl-eval: gsm8k, gpqa, ... Default: the job's name."
    )
    data: str | None = Field(
        default=None,
        description="A local .jsonl or .parquet file with the columns of the real set, or a "
        "folder with test.jsonl; null: the real set from the Hugging Face hub.",
    )
    examples: int | None = Field(
        default=None,
        ge=1,
        description="How many questions; fewer than the set has are a seeded sample with every "
        "difficulty in proportion. Null: all.",
    )
    sample_seed: int = Field(default=0, description="Seed of that sample.")
    choice_seed: int = Field(
        default=42, description="Seed of the order of multiple-choice answers, per question."
    )
    repeats: int = Field(default=1, ge=1, description="How often each question is asked (k).")
    api: Literal["chat", "completion"] = Field(
        default="chat",
        description="chat: /v1/chat/completions, with the model's chat template; completion: "
        "/v1/completions, the prompt as it stands (base models, the study's few-shot GSM8K).",
    )
    few_shot: int = Field(default=0, ge=0, description="Worked examples in the prompt.")
    shots: str | None = Field(
        default=None,
        description="File of worked examples, or a folder with shots.jsonl; null: shots.jsonl in "
        "the data folder, or the first rows of the real set's train split.",
    )
    prompt: str | None = Field(
        default=None,
        description="A prompt file in sgl-eval's YAML form, or the name of one of servegate's or "
        "sgl-eval's prompts (question-answer, math, ...); null: sgl-eval's own for the benchmark.",
    )
    system: str | None = Field(default=None, description="A system message.")
    temperature: float = Field(default=0.0, ge=0, description="Sampling temperature.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling.")
    top_k: int | None = Field(
        default=None, ge=1, description="Sample from the k likeliest tokens; null: not sent."
    )
    min_p: float = Field(default=0.0, ge=0, le=1, description="Least probability ratio.")
    max_tokens: int = Field(
        default=2048, ge=1, description="Tokens after which an answer is cut off."
    )
    stop: list[str] = Field(default=[], description="Texts at which an answer ends.")
    seed: int | None = Field(
        default=None,
        description="Sampling seed sent with each request; only with one repeat, since all "
        "repeats of a question would get the same.",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={},
        description="Arguments of the chat template, e.g. {enable_thinking: true}.",
    )
    stages: int = Field(
        default=1,
        ge=1,
        le=50,
        description="In how many stages of equal size the questions are asked, in a seeded random "
        "order: an arm is asked no more once its gates are decided, at the same error rates. "
        "1: every arm is asked everything.",
    )
    concurrency: int = Field(default=64, ge=1, description="Requests kept in flight.")
    retries: int = Field(
        default=1,
        ge=0,
        le=5,
        description="Further tries of a request that failed, 1, 2, 4, ... seconds apart.",
    )
    request_timeout_s: float = Field(
        default=14400.0, gt=0, description="Longest wait for one answer; the job's deadline rules."
    )
    max_error_rate: float = Field(
        default=0.0, ge=0, lt=1, description="Share of failed requests above which nothing counts."
    )


def shots_path(settings: AccuracySettings) -> Path | None:
    """Where the worked examples are; None means the real set's train split."""
    if settings.shots is not None:
        return Path(settings.shots)
    if settings.data is None:
        return None
    data = Path(settings.data)
    return data if data.is_dir() else data.parent
