"""What a judgement is made of: verdicts, checks, rows; plain values that a report is built from."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline import exit_codes
from pipeline.gate.itl_breakdown import Closure
from pipeline.plan.model import LayoutKey

__all__ = [
    "EXIT_CODES",
    "Bought",
    "Bounds",
    "Check",
    "Judgement",
    "LaunchValue",
    "Measured",
    "NoiseFloor",
    "Premise",
    "Proof",
    "RecordProblem",
    "RecordSummary",
    "Row",
    "Verdict",
    "worst",
]

Bounds = tuple[float, float]


class Verdict(StrEnum):
    """What may be said of a check, a row or a run; ``unsupported`` of a row only."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    REGRESSED = "regressed"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    UNSUPPORTED = "unsupported"


EXIT_CODES = {
    Verdict.PASS: exit_codes.PASS,
    Verdict.IMPROVED: exit_codes.PASS,
    Verdict.REGRESSED: exit_codes.REGRESSED,
    Verdict.INCONCLUSIVE: exit_codes.CANNOT_VOUCH,
    Verdict.MISSING: exit_codes.CANNOT_VOUCH,
}

_WORST_FIRST = (
    Verdict.REGRESSED,
    Verdict.MISSING,
    Verdict.INCONCLUSIVE,
    Verdict.IMPROVED,
    Verdict.PASS,
)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The one that rules over the others; of none at all: missing, never pass.

    What this machine cannot run says neither good nor bad of the rest, and is left out.
    """
    found = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in found), Verdict.MISSING)


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LaunchValue(_Frozen):
    """One launch's value of a metric; launches are numbered by their block, from 0."""

    block: int
    value: float


class Measured(_Frozen):
    """One metric of one arm on one layout, as far as it was measured.

    ``value`` is the mean over questions for a fraction, the geometric mean over launches else.
    ``interval`` is there for fractions with all their answers. ``n`` counts questions or launches.
    """

    job: str
    metric: str
    value: float
    interval: Bounds | None
    n: int
    repeats: int | None
    launches: list[LaunchValue]


class Check(_Frozen):
    """One question put to the records, and its answer.

    Attributes:
        job: The job.
        metric: The metric, a key of :data:`evals.metrics.METRICS`.
        against: What the value is held against: the reference arm on the same layout, the gate's
            floor, (reference arm only) the reference arm on its best other layout, or a further
            baseline of the experiment, or the best of all baselines, on the same layout.
        other: Name of that baseline; "" for everything else.
        gated: Whether a gate of the experiment asks for it; else it is shown, never judged.
        measure: ``difference`` (arm minus reference), ``ratio`` (arm over reference), ``shift``
            (mean distance to the reference, position by position) or ``level``.
        value: The arm's value.
        reference_value: The other side's value; None against a floor.
        estimate: The difference, the ratio, or the level itself.
        interval: Bounds of the estimate, each with the error rate alpha; None where unknown.
        bootstrap: The same by a hierarchical bootstrap, a second opinion; gated ratios only.
        p_worse: One-sided p-value for "worse than the other side", before Holm.
        p_better: The same for "better".
        p_worse_adjusted: After Holm over all gated checks of the same family.
        margin: The gate's margin.
        floor: The gate's floor, for checks against it.
        n: Questions (difference, level), launches an arm (ratio) or texts (shift).
        higher: Questions on which the arm's mean is higher.
        lower: Questions on which the arm's mean is lower.
        method: Interval and test that were used.
        verdict: None where not gated.
        reason: One sentence.
        quarantine: What sets the check aside, so that its row's verdict leaves it out; "" if it
            counts.
    """

    job: str
    metric: str
    against: Literal["reference", "floor", "other layouts", "baseline", "best baseline"]
    other: str = ""
    gated: bool
    measure: Literal["difference", "ratio", "shift", "level"]
    value: float | None = None
    reference_value: float | None = None
    estimate: float | None = None
    interval: Bounds | None = None
    bootstrap: Bounds | None = None
    p_worse: float | None = None
    p_better: float | None = None
    p_worse_adjusted: float | None = None
    margin: float | None = None
    floor: float | None = None
    n: int | None = None
    higher: int | None = None
    lower: int | None = None
    method: str = ""
    verdict: Verdict | None = None
    reason: str = ""
    quarantine: str = ""


class NoiseFloor(_Frozen):
    """What an arm that repeats the reference (A/A) shows of one speed on one layout.

    ``floor`` is a relative change: the bound of the A/A ratio that lies farther from 1.
    """

    layout: LayoutKey
    arm: str
    job: str
    metric: str
    ratio: float
    interval: Bounds
    floor: float
    launches: int


class Bought(_Frozen):
    """Launches of one arm on one layout beyond the planned ones, where an experiment may buy them.

    ``possible`` is how many the experiment's cap would have allowed.
    """

    layout: LayoutKey
    arm: str
    launches: int
    possible: int


class RecordProblem(_Frozen):
    """A planned cell without an ok record."""

    cell: str
    status: str
    failure_class: str
    reason: str


class RecordSummary(_Frozen):
    """What became of the planned cells of one row; ``not run`` is a status of the summary only."""

    planned: int
    counts: dict[str, int]
    problems: list[RecordProblem]


class Premise(_Frozen):
    """One finding about a premise, and the launches that share it."""

    name: str
    state: Literal["proved", "unproved", "disproved"]
    detail: str
    launches: list[str]


class Proof(_Frozen):
    """Names of the proofs of its path that were asked of an arm, by what became of them."""

    asked: list[str]
    found: list[str]
    missing: list[str]
    disproved: list[str]


class Row(_Frozen):
    """One arm on one layout; ``notes`` are what a reader must know before its numbers.

    ``quarantine`` says what sets the whole row aside, so that the run's verdict leaves it out; its
    own verdict is still what was found.
    """

    layout: LayoutKey
    arm: str
    role: Literal["reference", "arm"]
    notes: list[str]
    verdict: Verdict
    reasons: list[str]
    measured: list[Measured]
    checks: list[Check]
    records: RecordSummary
    proof: Proof
    premises: list[Premise]
    quarantine: str = ""


class Judgement(_Frozen):
    """What a run shows.

    Attributes:
        verdict: The worst of all rows.
        exit_code: What a process that only reports this exits with.
        reason: One sentence.
        alpha: One-sided error rate of each gate, and of any false alarm in a family.
        reference: The reference arm.
        alarms: How many comparisons could raise an alarm, by family: Holm's count.
        facts_kept: Whether the run kept what its launches ran with, so that arms could be searched
            for differences that nobody declared.
        noise: Noise floors, where an arm repeats the reference.
        closures: What each change of ITL is made of, where traces were planned beside it.
        bought: Launches beyond the planned ones, where a speed that is undecided may buy them.
        rows: Layouts in the plan's order, the reference arm first in each.
    """

    verdict: Verdict
    exit_code: int
    reason: str
    alpha: float
    reference: str
    alarms: dict[str, int]
    facts_kept: bool
    noise: list[NoiseFloor] = []
    closures: list[Closure] = []
    bought: list[Bought] = []
    rows: list[Row]
