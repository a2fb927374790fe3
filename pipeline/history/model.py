"""What the history keeps of a night, and what a judgement against it is made of."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.gate.model import Bounds, Verdict
from pipeline.plan.model import LayoutKey

__all__ = ["Acceptance", "ArmFacts", "CellValue", "Night", "NightCheck", "NightJudgement", "Place"]

Place = tuple[LayoutKey, str]
"""Layout and arm."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CellValue(_Frozen):
    """One metric of one arm, layout and job in one night; its numbers are finite.

    Attributes:
        layout: The layout.
        arm: The arm.
        job: The job.
        metric: A key of :data:`evals.metrics.METRICS`.
        value: Mean over questions for a fraction, geometric mean over launches else; None where
            planned records do not count.
        launches: Each launch's own value, in block order.
        n: Questions (fractions) or launches.
        interval: Of a fraction, where all answers are there.
        means_digest: SHA-256 of the question means; "" for what asks no questions.
        gap: Why there is no value; "" if there is one.
        gated: Whether the run's plan gates it with a margin.
        verdict: What the run's own gate said of it against its reference; "" where it did not.
        quarantine: What set it aside in its own night, so that it is no baseline; "" if it counted.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    layout: LayoutKey
    arm: str
    job: str
    metric: str
    value: float | None
    launches: list[float] = []
    n: int = 0
    interval: Bounds | None = None
    means_digest: str = ""
    gap: str = ""
    gated: bool = False
    verdict: str = ""
    quarantine: str = ""

    @property
    def key(self) -> tuple[LayoutKey, str, str, str]:
        """Layout, arm, job, metric."""
        return self.layout, self.arm, self.job, self.metric


class ArmFacts(_Frozen):
    """What one arm ran with on one layout, by flat dotted keys, in two parts.

    Attributes:
        layout: The layout.
        arm: The arm.
        fixed: What must not change between nights: machine, GPU, driver, model, SGLang, and each
            job's data, protocol and settings.
        other: What may change and is named: packages, libraries, arguments, environment.
        gap: Why nothing is known; "" if it is.
    """

    layout: LayoutKey
    arm: str
    fixed: dict[str, Any]
    other: dict[str, Any]
    gap: str = ""


class Night(_Frozen):
    """One run as the history keeps it.

    Attributes:
        id: Number in the store; 0 before it is there.
        experiment: Name of the experiment.
        run: Name of the run's folder.
        folder: The run's folder, relative to the history's file where that is possible.
        started_at: When its first record began, ISO 8601, UTC.
        plan_hash: Hash of the plan.
        digest: SHA-256 of all that is kept of it; a resumed run is a night of another digest.
        verdict: The run's own verdict, arm against reference.
        cells: Values.
        facts: What the arms ran with.
    """

    id: int = 0
    experiment: str
    run: str
    folder: str
    started_at: str
    plan_hash: str
    digest: str = ""
    verdict: str
    cells: list[CellValue]
    facts: list[ArmFacts]

    def cell(self, key: tuple[LayoutKey, str, str, str]) -> CellValue | None:
        """The value of one layout, arm, job and metric; None where the night has none."""
        return next((cell for cell in self.cells if cell.key == key), None)

    def facts_of(self, layout: LayoutKey, arm: str) -> ArmFacts | None:
        """What one arm ran with; None where the night had no such arm."""
        return next((f for f in self.facts if (f.layout, f.arm) == (layout, arm)), None)


class Acceptance(_Frozen):
    """One night that somebody made a baseline; ``pin`` is "" for a rolling one.

    ``withdrawn`` is the reason for which it was taken back; "" while it counts.
    """

    id: int = 0
    night: int
    pin: str
    reason: str
    accepted_by: str
    accepted_at: str
    withdrawn: str = ""
    withdrawn_by: str = ""
    withdrawn_at: str = ""


class NightCheck(_Frozen):
    """One gated metric of tonight against one baseline.

    Attributes:
        layout: The layout.
        arm: The arm.
        job: The job.
        metric: The metric.
        baseline: Which of the two.
        name: The pin's name; "" for the rolling one.
        provisional: Whether the pin has fewer than three nights.
        nights: Names of the baseline's runs.
        measure: ``ratio`` (tonight over baseline) or ``difference`` (tonight minus baseline).
        value: Tonight's value.
        baseline_value: The baseline's.
        estimate: The ratio or difference.
        interval: Its bounds, each with the experiment's error rate.
        p_worse: One-sided p-value for "worse than the baseline", before Holm.
        p_better: The same for "better".
        p_worse_adjusted: After Holm over all checks of the same night and baseline.
        margin: The gate's margin.
        n: Baseline nights (speed) or questions (fractions).
        method: Interval and test.
        beyond: Whether the estimate is worse than the margin allows, established or not.
        ahead: Whether the estimate is better by more than the margin, established or not.
        changed: What changed since the baseline and may change; named, not judged.
        verdict: The verdict.
        reason: One sentence.
        quarantine: What sets the check aside, so that the night's verdict leaves it out; "" if it
            counts.
        unpaired: Whether scores were held against scores: the baseline's answers are not kept.
    """

    layout: LayoutKey
    arm: str
    job: str
    metric: str
    baseline: Literal["pinned", "rolling"]
    name: str = ""
    provisional: bool = False
    nights: list[str] = []
    measure: Literal["ratio", "difference"]
    value: float | None = None
    baseline_value: float | None = None
    estimate: float | None = None
    interval: Bounds | None = None
    p_worse: float | None = None
    p_better: float | None = None
    p_worse_adjusted: float | None = None
    margin: float | None = None
    n: int | None = None
    method: str = ""
    beyond: bool = False
    ahead: bool = False
    changed: list[str] = []
    verdict: Verdict = Verdict.MISSING
    reason: str = ""
    quarantine: str = ""
    unpaired: bool = False


class NightJudgement(_Frozen):
    """What the accepted nights say of a run.

    Attributes:
        schema_version: Of this document.
        run: Name of the run's folder.
        experiment: Name of the experiment.
        verdict: The worst of all checks and, where the experiment compares arms, of its own gate.
        exit_code: What a process that reports this exits with.
        reason: One sentence.
        own_verdict: The run's own verdict, arm against reference.
        alpha: Error rate of an alarm, a night and baseline.
        pin: The pinned baseline; "" where there is none.
        checks: One for each gated metric and baseline.
    """

    schema_version: Literal[1] = 1
    run: str
    experiment: str
    verdict: Verdict
    exit_code: int
    reason: str
    own_verdict: str
    alpha: float
    pin: str
    checks: list[NightCheck] = Field(default_factory=list)
