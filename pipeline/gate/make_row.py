"""One row: what an arm on a layout comes to, from its checks, its records and its proofs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from evals.metrics import METRICS
from pipeline.gate import proof, quarantine, rows
from pipeline.gate.evidence import Evidence, Key, Place, is_fraction
from pipeline.gate.model import Check, Proof, Row, Verdict
from pipeline.plan import Plan
from pipeline.records import Record
from pipeline.spec.quarantine import Quarantine

__all__ = ["make_row"]


def make_row(  # noqa: PLR0913 - one call site; each is another part of a row
    plan: Plan,
    place: Place,
    checks: list[Check],
    evidence: Mapping[Key, Evidence],
    records: Mapping[str, Record],
    day: date | None,
    *,
    broken: bool | None,
    warned: Sequence[str],
) -> Row:
    """Judge one arm on one layout.

    Args:
        plan: The plan.
        place: The layout and the arm.
        checks: Of this place, decided.
        evidence: Of the whole run.
        records: Of the whole run, by cell.
        day: The day by which quarantines hold or have lapsed; None: none holds.
        broken: Whether the reference regressed on this layout; None for the reference itself.
        warned: What its closures warn of.
    """
    layout, arm = place
    jobs = {job: side for (at, who, job), side in evidence.items() if (at, who) == place}
    reference = arm == plan.reference
    if not reference:
        checks = rows.hold_back(checks, broken_reference=broken is True)
    aside = quarantine.active(plan, layout, arm, day)
    marked = quarantine.marked(checks, aside)
    row_aside = quarantine.of_row(marked, aside)
    if row_aside:
        aside = []  # the whole row is out of the verdict, and its own says what was found
    else:
        checks = marked
    summary = rows.record_summary(plan, layout, arm, records)
    counting = quarantine.without(summary, aside)
    own = [r for r in records.values() if (r.layout, r.arm) == place]
    found = proof.premises(own)
    asked = proof.proof(found)
    gaps = [*_gate_gaps(plan, jobs, aside), *_proof_gaps(plan, asked)]
    verdict = rows.row_verdict(checks, counting, gaps)
    if reference and verdict is Verdict.MISSING and not (counting.problems or gaps or checks):
        # Nothing holds a reference against anything here, but all that the gates need is there.
        verdict = Verdict.PASS
    return Row(
        layout=layout,
        arm=arm,
        role="reference" if reference else "arm",
        notes=[
            *quarantine.notes(plan, layout, arm, day),
            *proof.notes(plan, layout, arm),
            *rows.signals(checks, plan.alpha, comparisons=_rates(plan)),
            *warned,
        ],
        verdict=verdict,
        reasons=rows.row_reasons(verdict, checks, counting, gaps),
        measured=rows.measured(jobs, plan.alpha),
        checks=checks,
        records=summary,
        proof=asked,
        premises=found,
        quarantine=row_aside,
    )


def _rates(plan: Plan) -> int:
    """How many rates of answers are looked at without a gate, at most; at least 1."""
    rates = [name for name in METRICS if is_fraction(name) and name != "score"]
    jobs = len([job for job in plan.jobs.values() if job["kind"] == "accuracy"])
    return max(1, len(rates) * jobs * len(plan.layouts) * (len(plan.arms) - 1))


def _proof_gaps(plan: Plan, asked: Proof) -> list[str]:
    if not plan.require_proof:
        return []
    if not asked.asked:
        return ["proof is required, and no record says anything of what ran"]
    if asked.missing:
        return [f"proof is required, and missing for: {', '.join(asked.missing)}"]
    return []


def _gate_gaps(plan: Plan, jobs: Mapping[str, Evidence], aside: Sequence[Quarantine]) -> list[str]:
    """What the gates need and this arm has not, however its records look."""
    if not any(plan.gates.values()):
        return ["no gate is set, so nothing is judged"]
    gaps: list[str] = []
    for job, gates in plan.gates.items():
        if job not in jobs and gates:
            gaps.append(f"{job}: gated, but no launch of this arm runs it")
            continue
        gaps += [
            f"{job} {METRICS[metric].label}: {gap}"
            for metric in gates
            if not quarantine.sets_aside(aside, job, metric) and (gap := jobs[job].gap_of(metric))
        ]
    return gaps
