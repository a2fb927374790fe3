"""All that the fake engine can be told; unknown keys and wrong types are refused."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

__all__ = [
    "AccuracyAt",
    "CrashAfter",
    "CrashAtStart",
    "EmptyOutput",
    "FakeSettings",
    "Fault",
    "Hang",
    "Http500Every",
    "IgnoreEnv",
    "LogSchedulerException",
    "PluginFailed",
    "PortInUse",
    "RankPassesThrough",
    "SlowStart",
    "SymmetricMemoryOff",
    "WrongKernels",
    "ZeroTokens",
]

Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CrashAtStart(_Strict):
    """Prints `message` and exits before it listens."""

    kind: Literal["crash_at_start"]
    exit_code: PositiveInt = 1
    message: str = "RuntimeError: told to crash at start"


class PortInUse(_Strict):
    """Exits as if another process had taken the port between choosing and binding it."""

    kind: Literal["port_in_use"]


class SlowStart(_Strict):
    """Does not listen at all for `seconds`, as while weights are loaded."""

    kind: Literal["slow_start"]
    seconds: NonNegativeFloat


class _Triggered(_Strict):
    """Spares the first `after_requests` requests; or begins `at_s` seconds after it is ready.

    A request for one token counts for a readiness probe: it is not counted, and only a hang that
    has begun concerns it.
    """

    after_requests: NonNegativeInt = 0
    at_s: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        if self.at_s is not None and "after_requests" in self.model_fields_set:
            raise ValueError("after_requests and at_s exclude each other; leave one of them out")
        return self


class CrashAfter(_Triggered):
    """Prints a traceback and exits, requests in flight and all."""

    kind: Literal["crash_after"]
    exit_code: PositiveInt = 1


class Hang(_Triggered):
    """Takes connections and answers nothing any more, health included; streams stop midway."""

    kind: Literal["hang"]


class LogSchedulerException(_Triggered):
    """A hang that SGLang's own crash line announces in the log; the process lives on."""

    kind: Literal["log_scheduler_exception"]


class EmptyOutput(_Triggered):
    """Answers 200 with an empty text of one token: an end-of-text at once."""

    kind: Literal["empty_output"]


class ZeroTokens(_Triggered):
    """Answers 200 with an empty text of no tokens."""

    kind: Literal["zero_tokens"]


class Http500Every(_Triggered):
    """Answers every `every`-th request with HTTP 500."""

    kind: Literal["http_500_every"]
    every: PositiveInt


class IgnoreEnv(_Strict):
    """Ignores the mixed-comm switch: serves, and writes no witness."""

    kind: Literal["ignore_env"]


class WrongKernels(_Strict):
    """Its traces show kernels of another family than the arm claims, or of none."""

    kind: Literal["wrong_kernels"]
    family: str
    per_layer: PositiveInt = 2


class RankPassesThrough(_Strict):
    """One rank's witness counts calls as passed through that the others took."""

    kind: Literal["rank_passes_through"]
    rank: NonNegativeInt


class SymmetricMemoryOff(_Strict):
    """Takes --enable-symm-mem and switches it off, as SGLang does for some models and devices."""

    kind: Literal["symmetric_memory_off"]


class PluginFailed(_Strict):
    """Logs that a plugin failed, as SGLang does, and serves without it."""

    kind: Literal["plugin_failed"]
    name: str = "servegate_mixed_comm"


class AccuracyAt(_Strict):
    """Answers with another `accuracy` where the server runs at this attention DP size.

    As in sglang#23463: 1 % of GSM8K at DP 2, 98 % at DP 4, from one backend.
    """

    kind: Literal["accuracy_at"]
    attention_dp: PositiveInt
    accuracy: Share


Fault = Annotated[
    CrashAtStart
    | PortInUse
    | SlowStart
    | CrashAfter
    | Hang
    | LogSchedulerException
    | EmptyOutput
    | ZeroTokens
    | Http500Every
    | IgnoreEnv
    | WrongKernels
    | RankPassesThrough
    | SymmetricMemoryOff
    | PluginFailed
    | AccuracyAt,
    Field(discriminator="kind"),
]


class FakeSettings(_Strict):
    """What the fake engine does.

    Pace: a request with ignore_eos (a benchmark's) gets token k at ttft + k * itl after its
    arrival; any other is an answer to a question and goes by `answer_ttft_ms`, `answer_itl_ms`.

    Accuracy: a question is answered right where a hash of (seed, question) is below `accuracy`.
    Arms of one seed thus agree question by question, and a lower accuracy takes the right answers
    of a higher one and turns some of them wrong. Every other share is drawn by a hash of its own.
    """

    ready_after_s: NonNegativeFloat = Field(
        default=0.0, description="Seconds for which it listens and answers 503."
    )
    ttft_ms: NonNegativeFloat = Field(default=20.0, description="Time to the first token.")
    itl_ms: NonNegativeFloat = Field(default=5.0, description="Time from token to token.")
    jitter: NonNegativeFloat = Field(
        default=0.0, description="Standard deviation of each gap between tokens, as a share of it."
    )
    launch_jitter: NonNegativeFloat = Field(
        default=0.0,
        description="Standard deviation of one factor on itl_ms for the whole life of a server.",
    )
    launch_seed: int = Field(default=0, description="Draws that factor, and the jitter.")
    answer_ttft_ms: NonNegativeFloat = Field(
        default=1.0, description="Time to the first token of an answer to a question."
    )
    answer_itl_ms: NonNegativeFloat = Field(
        default=0.0, description="Time from token to token in such an answer."
    )
    seed: int = Field(default=0, description="Draws which questions are answered right.")
    accuracy: Share = Field(default=1.0, description="Share of questions answered right.")
    arm_seed: int = Field(default=0, description="Draws which questions flip_rate turns over.")
    flip_rate: Share = Field(
        default=0.0, description="Share of questions whose outcome this arm turns over."
    )
    no_answer_rate: Share = Field(
        default=0.0, description="Share of questions answered without an answer to extract."
    )
    truncate_rate: Share = Field(
        default=0.0, description="Share of questions rambled about up to the token limit."
    )
    answer_style: Literal["auto", "boxed", "letter"] = Field(
        default="auto",
        description="\\boxed{5}, or `Answer: C`; auto: the latter for one capital letter.",
    )
    answers_file: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(),
        description="JSON lines files of the questions it can answer: problem and expected_answer,"
        " or rows of GSM8K or GPQA as published.",
    )
    logprob_shift: float = Field(
        default=0.0, description="Nats by which decoded tokens are less likely than they should be."
    )
    logprob_noise: NonNegativeFloat = Field(
        default=0.0, description="Nats, at most, by which a launch moves each of them."
    )
    faults: Annotated[tuple[Fault, ...], Field(strict=False)] = Field(
        default=(), description="What goes wrong, and when."
    )
