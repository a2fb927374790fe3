"""May a run become a baseline? Whatever is doubtful is refused, and says why."""

from __future__ import annotations

from collections import Counter

from pipeline.gate.model import Verdict
from pipeline.history.entry import Tonight
from pipeline.history.model import NightJudgement

__all__ = ["refusals"]

_SHOWN = 3


def refusals(tonight: Tonight, against: NightJudgement, pin: str) -> list[str]:
    """Why a run may not become a baseline; empty if it may.

    A pinned baseline may differ from the nights before it, since a deliberate change is what it is
    made for; what is wrong with the run itself holds for it, too.

    Args:
        tonight: The run.
        against: What the nights accepted before it say of it.
        pin: The pin's name; "" for a rolling baseline.
    """
    problems = [*_records(tonight), *_own(tonight)]
    if pin:
        return problems
    if not against.pin:
        problems.append("there is no pinned baseline yet; the first is made with --pin NAME")
        return problems
    checks = against.checks
    for word, found in (
        ("regressed", [c for c in checks if c.verdict is Verdict.REGRESSED]),
        ("incomparable", [c for c in checks if c.verdict is Verdict.MISSING]),
        # Else a real step that one night cannot establish would move the baseline towards itself.
        (
            "undecided and worse than the margin",
            [c for c in checks if c.verdict is Verdict.INCONCLUSIVE and c.beyond],
        ),
    ):
        if found:
            told = "; ".join(
                f"{c.arm} on {c.layout}, {c.job} {c.metric} ({c.baseline}): {c.reason}"
                for c in found[:_SHOWN]
            )
            problems.append(
                f"{word} against the accepted nights: {told}. Where this change is meant, give it "
                "a pinned baseline of its own: --pin NAME"
            )
    return problems


def _records(tonight: Tonight) -> list[str]:
    """Failed, invalid and incomplete runs; what this machine cannot run at all is no gap."""
    problems: list[str] = []
    for row in tonight.report.judgement.rows:
        bad = [p for p in row.records.problems if p.status != "unsupported"]
        if not bad:
            continue
        counts = Counter(problem.status for problem in bad)
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        problems.append(
            f"{row.arm} on {row.layout}: {told} of {row.records.planned} records, "
            f"{bad[0].cell}: {bad[0].reason}"
        )
    gaps = [facts for facts in tonight.night.facts if facts.gap]
    supported = {
        (row.layout, row.arm)
        for row in tonight.report.judgement.rows
        if row.verdict is not Verdict.UNSUPPORTED
    }
    problems += [
        f"{facts.arm} on {facts.layout}: what it ran with is not known ({facts.gap}), so no later "
        "night could be compared with it"
        for facts in gaps
        if (facts.layout, facts.arm) in supported
    ]
    return problems


def _own(tonight: Tonight) -> list[str]:
    judgement = tonight.report.judgement
    if not any(cell.gated and cell.value is not None for cell in tonight.night.cells):
        return ["nothing that a gate names was measured"]
    alone = len(tonight.report.plan.arms) == 1 and judgement.verdict is Verdict.MISSING
    if judgement.verdict is Verdict.REGRESSED or (
        judgement.verdict is Verdict.MISSING and not alone
    ):
        word = "regressed" if judgement.verdict is Verdict.REGRESSED else "incomparable or missing"
        return [f"its own gate says {word}: {judgement.reason}"]
    return []
