"""The one table of metrics: name, unit, better direction, digits and where each comes from.

No other module knows in which direction a metric is better; it is never inferred from a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Better", "ComparedAs", "Metric", "is_fraction"]

Better = Literal["higher", "lower", "neither"]
ComparedAs = Literal["fraction", "shift", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number that a cell can report.

    Attributes:
        name: The key in a record's ``metrics``.
        label: What a report calls it.
        unit: Unit of the stored value; ``""`` for a fraction in [0, 1].
        better: The direction that helps a user; ``"neither"`` is never judged.
        digits: Digits after the point that a report shows.
        source: The field or formula that the value is taken from.
    """

    name: str
    label: str
    unit: str
    better: Better
    digits: int
    source: str

    @property
    def compared_as(self) -> ComparedAs:
        """How two sides are held against each other.

        A fraction question by question, as a difference; a shift of log-probabilities is a distance
        to the reference by itself; all else launch by launch, as a ratio.
        """
        return "fraction" if self.unit == "" else "shift" if self.unit == "nats" else "ratio"


_BENCH = "sglang.benchmark.serving"
_TRACE = (
    "median over traced decode steps of the mean over ranks "
    "(evals/comm_kernels/analysis/figures.py):"
)


def _times(name: str, label: str, digits: int, *, field: str | None = None) -> tuple[Metric, ...]:
    """Median and percentiles of one of the benchmark's latencies."""
    theirs = name if field is None else field
    return tuple(
        Metric(
            name=f"{statistic}_{name}_ms",
            label=f"{statistic} {label}",
            unit="ms",
            better="lower",
            digits=digits,
            source=f"{_BENCH} {statistic}_{theirs}_ms",
        )
        for statistic in ("median", "p90", "p95", "p99")
    )


_ALL = (
    Metric(
        name="score",
        label="score",
        unit="",
        better="higher",
        digits=4,
        source="mean over questions of the mean over repeats of correct (sgl-eval's marking)",
    ),
    Metric(
        name="no_answer_rate",
        label="no answer",
        unit="",
        better="lower",
        digits=4,
        source="samples that stopped by themselves and from which nothing could be extracted",
    ),
    Metric(
        name="truncated_rate",
        label="truncated",
        unit="",
        better="lower",
        digits=4,
        source="samples cut off by max_tokens that were not marked correct",
    ),
    Metric(
        name="error_rate",
        label="errors",
        unit="",
        better="lower",
        digits=4,
        source="requests without a usable response; never counted as wrong answers",
    ),
    Metric(
        name="logprob_shift",
        label="logprob shift",
        unit="nats",
        better="lower",
        digits=4,
        source="mean |difference| to the reference's log-probabilities over decode steps that both "
        "reached over the same tokens (pipeline/gate/logprobs.py)",
    ),
    Metric(
        name="logprob_noise",
        label="logprob noise",
        unit="nats",
        better="neither",
        digits=4,
        source="the same between two askings on one launch",
    ),
    *_times("itl", "ITL", 3),
    Metric(
        name="steady_itl_ms",
        label="steady ITL",
        unit="ms",
        better="lower",
        digits=3,
        source="median over tokens while the whole batch decodes (evals/latency/full_batch.py)",
    ),
    *(
        Metric(
            name=f"steady_p{percent}_gap_ms",
            label=f"steady p{percent} gap",
            unit="ms",
            better="lower",
            digits=3,
            source="time from event to event while the whole batch decodes (bench_window.py)",
        )
        for percent in (90, 95, 99)
    ),
    *_times("tpot", "TPOT", 3),
    *_times("ttft", "TTFT", 2),
    *_times("e2e", "E2E latency", 1, field="e2e_latency"),
    Metric(
        name="output_throughput",
        label="output throughput",
        unit="tok/s",
        better="higher",
        digits=2,
        source=f"{_BENCH} output_throughput",
    ),
    Metric(
        name="total_throughput",
        label="total throughput",
        unit="tok/s",
        better="higher",
        digits=2,
        source=f"{_BENCH} total_throughput",
    ),
    Metric(
        name="steady_throughput",
        label="steady throughput",
        unit="tok/s",
        better="higher",
        digits=2,
        source="output tokens a second while the whole batch decodes (bench_window.py)",
    ),
    Metric(
        name="request_throughput",
        label="request throughput",
        unit="req/s",
        better="higher",
        digits=3,
        source=f"{_BENCH} request_throughput",
    ),
    Metric(
        name="goodput",
        label="goodput",
        unit="req/s",
        better="higher",
        digits=3,
        source="requests a second that keep the job's goodput times (evals/latency/goodput.py)",
    ),
    Metric(
        name="slo_attainment",
        label="SLO attainment",
        unit="%",
        better="higher",
        digits=2,
        source="share of requests that keep the job's goodput times (evals/latency/goodput.py)",
    ),
    Metric(
        name="tokens_per_event",
        label="tokens an event",
        unit="tok",
        better="neither",
        digits=2,
        source="tokens that come at once, the mean (evals/latency/goodput.py)",
    ),
    Metric(
        name="accept_length",
        label="accept length",
        unit="tok",
        better="neither",
        digits=3,
        source=f"{_BENCH} accept_length (speculative decoding)",
    ),
    Metric(
        name="comm_with_imbalance_ms",
        label="communication",
        unit="ms",
        better="lower",
        digits=4,
        source=f"{_TRACE} sum of the communication kernels",
    ),
    Metric(
        name="comm_without_imbalance_ms",
        label="communication w/o imbalance",
        unit="ms",
        better="lower",
        digits=4,
        source=f"{_TRACE} of each collective the shortest kernel among its ranks",
    ),
    Metric(
        name="comm_span_ms",
        label="communication span",
        unit="ms",
        better="lower",
        digits=4,
        source=f"{_TRACE} gaps between compute kernels that hold communication",
    ),
    Metric(
        name="comm_exposed_ms",
        label="communication alone",
        unit="ms",
        better="lower",
        digits=4,
        source=f"{_TRACE} time in which only communication kernels run",
    ),
    Metric(
        name="comm_kernels_per_step",
        label="communication kernels",
        unit="kernels",
        better="lower",
        digits=1,
        source=f"{_TRACE} communication kernels",
    ),
    Metric(
        name="other_kernels_ms",
        label="other kernels",
        unit="ms",
        better="lower",
        digits=4,
        source=f"{_TRACE} time in which other kernels run",
    ),
    Metric(
        name="gaps_ms",
        label="gaps",
        unit="ms",
        better="lower",
        digits=4,
        source=f"{_TRACE} time in which no kernel runs",
    ),
    Metric(
        name="traced_step_ms",
        label="traced step",
        unit="ms",
        better="neither",
        digits=4,
        source=f"{_TRACE} from one step's first kernel to the next one's",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def is_fraction(metric: str) -> bool:
    """True for what is judged question by question; all else is judged launch by launch."""
    return METRICS[metric].compared_as == "fraction"
