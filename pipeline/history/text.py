"""A judgement against the accepted nights, as lines for a person; pure."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.gate.model import Verdict
from pipeline.history.judge import check_name
from pipeline.history.model import NightJudgement
from pipeline.history.provenance import named
from pipeline.report.table import MARKS

__all__ = ["judgement_lines"]


def judgement_lines(judgement: NightJudgement) -> Iterator[str]:
    """Every check that is no pass, and what changed where something is worse; then the verdict."""
    for check in judgement.checks:
        if check.verdict is Verdict.PASS:
            continue
        yield f"{MARKS[check.verdict]} {check.verdict.value}: {check_name(check)}: {check.reason}"
        if check.verdict is Verdict.REGRESSED and check.changed:
            yield f"    changed since {check.nights[-1]}: {named(check.changed)}"
    passed = sum(check.verdict is Verdict.PASS for check in judgement.checks)
    yield f"{passed} of {len(judgement.checks)} checks against the accepted nights pass"
    unpaired = [check for check in judgement.checks if check.method.startswith("score against")]
    if unpaired:
        yield (
            f"note: {len(unpaired)} checks hold scores against scores, since the answers of the "
            "baseline are not kept; paired ones need fewer questions"
        )
    yield f"{judgement.reason}"
