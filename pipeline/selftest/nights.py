"""Nights against accepted ones: what the nightly gate must make of them, made in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import exp, log

from evals.metrics import METRICS
from pipeline.gate.model import EXIT_CODES, Verdict
from pipeline.history.baselines import FIRM_PIN, select
from pipeline.history.judge import Rules, judge_night
from pipeline.history.model import Acceptance, ArmFacts, CellValue, Night
from pipeline.history.night import Tonight
from pipeline.history.nightly import refusals
from pipeline.report.model import Report
from pipeline.selftest.matrix import Gated
from pipeline.selftest.scene import Scene
from pipeline.selftest.stored import Outcome

__all__ = ["NightCase", "judged_night", "night_cases"]

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_PIN = "release"

# How much worse than the first night each is, in margins: quiet nights, alike for days, and nights
# behind a pin that was the luckiest of them.
_QUIET = (0.0, 0.1, -0.1, 0.15, -0.05, 0.05, -0.15, 0.1, 0.0, -0.1, 0.05, -0.05)
_STEP = 2.5
_ALIKE = [n / 10 for n in (0, 2, 1, 0, 1, -1, 0, 0, -1, -5, -4, -6, -2, -1, 1, 1, 2, -1, 1, 5)]
_LUCKY = (-1.2, 0.1, 0.25, 0.15, 0.3)


@dataclass(frozen=True, kw_only=True)
class NightCase:
    """A night, what was accepted before it, and what must be said of it.

    Attributes:
        name: A few words.
        of: The gate.
        tonight: The night.
        nights: The nights before it, by time.
        acceptances: What was accepted of them.
        expected: Verdicts of which one must be found.
        accepted: Whether it may become a baseline; None: not asked.
        pin: The name under which it is to become one; "" for a rolling baseline.
        injected: One sentence.
    """

    name: str
    of: Gated
    tonight: Tonight
    nights: Sequence[Night]
    acceptances: Sequence[Acceptance]
    expected: tuple[Verdict, ...]
    accepted: bool | None = None
    pin: str = ""
    injected: str

    @property
    def metric(self) -> str:
        """The gate's metric."""
        return self.of.metric


def judged_night(case: NightCase) -> Outcome:
    """One case through the nightly gate."""
    night = case.tonight.night
    baselines = select(night, case.nights, case.acceptances)
    judgement = judge_night(case.tonight, baselines, lambda *_: None, Rules())
    problems: list[str] = []
    if judgement.verdict not in case.expected:
        told = " or ".join(verdict.value for verdict in case.expected)
        problems.append(f"night: {judgement.verdict.value}, must be {told}: {judgement.reason}")
    if judgement.exit_code != EXIT_CODES[judgement.verdict]:
        problems.append(f"exit code {judgement.exit_code} for {judgement.verdict.value}")
    refused = refusals(case.tonight, judgement, case.pin)
    if case.accepted is not None and case.accepted is bool(refused):
        must = "must be accepted" if case.accepted else "must not be accepted"
        problems.append(f"{must}: {'; '.join(refused) or 'nothing is said against it'}")
    cell = night.cells[0]
    return Outcome(
        name=case.name,
        column=None,
        job=case.of.job,
        metric=case.of.metric,
        arm=cell.arm,
        layout=str(cell.layout),
        injected=case.injected,
        expected=[verdict.value for verdict in case.expected],
        found=judgement.verdict.value,
        exit_code=judgement.exit_code,
        problems=problems,
    )


def night_cases(scene: Scene) -> Iterator[NightCase]:
    """Nights of equal runs, each with one arm that is worse or better by shares of the margin."""
    if (of := scene.speed) is None:
        return
    made = _Nights.made(scene, of)
    own = made.report.judgement
    if own.verdict is not Verdict.PASS or any(row.records.problems for row in own.rows):
        return  # both enter a night's verdict
    passed, regressed = (Verdict.PASS,), (Verdict.REGRESSED,)
    quiet = made.case("an ordinary night", _QUIET, 0.05, passed, accepted=True)
    yield quiet
    slow = made.case("a slower night", _QUIET, _STEP, regressed, accepted=False)
    yield slow
    cells = [
        cell.model_copy(update={"quarantine": "known"}) if cell.arm == scene.place.arm else cell
        for cell in slow.tonight.night.cells
    ]
    aside = slow.tonight.night.model_copy(update={"cells": cells})
    yield replace(
        slow,
        name="a slower night, quarantined",
        tonight=replace(slow.tonight, night=aside),
        expected=passed,
        accepted=True,
    )
    fast = made.case("a faster night is no baseline", _QUIET, -_STEP, (Verdict.IMPROVED,))
    yield replace(fast, accepted=False)
    yield replace(fast, name="a faster night may be pinned", pin="faster", accepted=True)
    bogus = [*_QUIET[:8], -log(30) / log(1 + of.gate.margin), *_QUIET[9:]]
    yield made.case("one accepted night 30 times as fast", bogus, _STEP, regressed)
    worse = [*_QUIET[:-1], _STEP]
    taken_back = _accepted(len(worse) - 1, pin="mistaken", withdrawn="measured beside a build")
    withdrawn = made.case("a pinned night that was withdrawn", worse, _STEP, regressed)
    yield replace(withdrawn, acceptances=[*withdrawn.acceptances[:-1], taken_back])
    green = (Verdict.PASS, Verdict.INCONCLUSIVE)
    yield made.case("nights that are alike for days", _ALIKE, 1.1, green)
    lucky = made.case("nights behind a lucky pin", _LUCKY, 0.5, green)
    yield replace(
        lucky, acceptances=[_accepted(n, pin="" if n else _PIN) for n in range(len(_LUCKY))]
    )


def _accepted(night: int, *, pin: str = "", withdrawn: str = "") -> Acceptance:
    return Acceptance(
        night=night + 1, pin=pin, reason="self-test", accepted_by="", accepted_at="",
        withdrawn=withdrawn,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Nights:
    """Makes nights of both arms of a layout, of which one moves."""

    scene: Scene
    of: Gated
    report: Report

    @classmethod
    def made(cls, scene: Scene, of: Gated) -> _Nights:
        stored = scene.narrow(of)
        report = Report(
            plan=stored.plan,
            judgement=stored.judged(),
            pairings=[],
            caveats=[],
            failures=[],
            not_checked=[],
            provenance={},
            started_at="",
            ended_at="",
            records=len(stored.records),
        )
        return cls(scene=scene, of=of, report=report)

    def case(
        self,
        name: str,
        before: Sequence[float],
        tonight: float,
        expected: tuple[Verdict, ...],
        *,
        accepted: bool | None = None,
    ) -> NightCase:
        """A night behind others that were all accepted, the first three as the pin."""
        nights = [self._night(number, share) for number, share in enumerate(before)]
        night = self._night(len(nights), tonight)
        return NightCase(
            name=name,
            of=self.of,
            tonight=Tonight(night=night, report=self.report, day=None, means={}),
            nights=nights,
            acceptances=[
                _accepted(number, pin=_PIN if number < FIRM_PIN else "")
                for number in range(len(nights))
            ],
            expected=expected,
            accepted=accepted,
            injected=f"{name}: {tonight:+.3g} margins worse than the first of {len(nights)} nights",
        )

    def _night(self, number: int, share: float) -> Night:
        layout = self.of.place.layout
        sign = 1 if METRICS[self.of.metric].better == "lower" else -1
        worse = exp(sign * share * log(1 + self.of.gate.margin))
        arms = {self.of.place.arm: worse, self.scene.reference.arm: 1.0}
        cells = [
            CellValue(
                layout=layout,
                arm=arm,
                job=self.of.job,
                metric=self.of.metric,
                value=100 * factor,
                launches=[100 * factor] * 3,
                n=3,
                gated=True,
            )
            for arm, factor in arms.items()
        ]
        return Night(
            id=number + 1,
            experiment="selftest",
            run=f"night-{number}",
            folder="",
            started_at=(_FIRST + timedelta(days=number)).isoformat(),
            plan_hash="",
            verdict="pass",
            cells=cells,
            facts=[ArmFacts(layout=layout, arm=arm, fixed={}, other={}) for arm in arms],
        )
