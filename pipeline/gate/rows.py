"""From decided checks to a row's verdict: what its records, premises and reference allow to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date

from evals.metrics import METRICS, is_fraction
from pipeline.experiment.quarantine import Quarantine
from pipeline.gate import gains, proof, quarantine, slow_mode
from pipeline.gate.evidence import (
    Evidence,
    asks,
    problem_of,
)
from pipeline.gate.host_rule import busy_notes
from pipeline.gate.model import (
    Check,
    LaunchValue,
    Measured,
    Proof,
    RecordProblem,
    RecordSummary,
    Row,
    Verdict,
    worst,
)
from pipeline.gate.text import as_p
from pipeline.plan.model import Launch, Place, Plan
from pipeline.records.record import Record, Status
from pipeline.stats import mean_score


def make_row(  # noqa: PLR0913 - one call site; each is another part of a row
    plan: Plan,
    place: Place,
    checks: list[Check],
    jobs: Mapping[str, Evidence],
    launches: Sequence[Launch],
    own: Sequence[Record],
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
        jobs: Evidence of this place, by job.
        launches: The planned ones of this place.
        own: Records of this place.
        day: The day by which quarantines hold or have lapsed; None: none holds.
        broken: Whether the reference regressed on this layout; None for the reference itself.
        warned: What its closures warn of.
    """
    layout, arm = place
    reference = arm == plan.reference
    if not reference:
        checks = hold_back(checks, broken_reference=broken is True)
    aside = quarantine.active(plan, layout, arm, day)
    marked = quarantine.marked(checks, aside)
    row_aside = quarantine.of_row(marked, aside)
    if row_aside:
        aside = []  # the whole row is out of the verdict, and its own says what was found
    else:
        checks = marked
    summary = record_summary(launches, {record.cell: record for record in own})
    counting = quarantine.without(summary, aside, launches)
    found = proof.premises(own)
    numbers = measured(jobs, plan.alpha)
    asked = proof.proof(found)
    gaps = [*_gate_gaps(plan, jobs, aside), *_proof_gaps(plan, asked)]
    verdict = row_verdict(checks, counting, gaps)
    if reference and verdict is Verdict.MISSING and not (counting.problems or gaps or checks):
        # Nothing holds a reference against anything here, but all that the gates need is there.
        verdict = Verdict.PASS
    return Row(
        layout=layout,
        arm=arm,
        role="reference" if reference else "arm",
        notes=[
            *quarantine.notes(plan, layout, arm, day),
            *gains.notes(plan, arm),
            *proof.notes(plan, layout, arm),
            *signals(checks, plan.alpha, comparisons=_rates(plan)),
            *busy_notes(own),
            *(
                f"launches differ by more than the margin: {told}"
                for told in slow_mode.spread_out(plan.gates, numbers)
            ),
            *warned,
        ],
        verdict=verdict,
        reasons=row_reasons(verdict, checks, counting, gaps, _named(jobs, checks)),
        measured=numbers,
        checks=checks,
        records=summary,
        proof=asked,
        premises=found,
        quarantine=row_aside,
    )


def _named(jobs: Mapping[str, Evidence], checks: Sequence[Check]) -> set[str]:
    """Cells that a check's own reason names, as what is missing of its job."""
    judged = {check.job for check in checks if check.gated and not check.quarantine}
    return {side.gap_cell for job, side in jobs.items() if job in judged and side.gap_cell}


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


_GOOD = (Verdict.PASS, Verdict.IMPROVED)


def gate_name(check: Check) -> str:
    """How a reason calls a check."""
    label = f"{check.job} {METRICS[check.metric].label}"
    if check.other:
        return f"{label} against {check.other}"
    return label if check.against == "reference" else f"{label} against {check.against}"


def measured(jobs: Mapping[str, Evidence], alpha: float) -> list[Measured]:
    """Every metric of one arm on one layout that any counting record has, job by job."""
    found: list[Measured] = []
    for job, side in jobs.items():
        names = {name for record in side.records for name in record.metrics}
        for name in (name for name in METRICS if name in names):
            one = _one(job, name, side, alpha)
            if one is not None:
                found.append(one)
    return found


def _one(job: str, name: str, side: Evidence, alpha: float) -> Measured | None:
    values = side.launch_values(name)
    launches = [LaunchValue(block=block, value=value) for block, value in values.items()]
    if not is_fraction(name):
        numbers = list(values.values())
        if not numbers:
            return None
        return Measured(
            job=job,
            metric=name,
            value=_typical(numbers),
            interval=None,
            n=len(numbers),
            repeats=None,
            launches=launches,
        )
    means = list(side.question_means(name).values())
    if not means:
        return None
    return Measured(
        job=job,
        metric=name,
        value=sum(means) / len(means),
        interval=None if side.gap else mean_score(means, alpha),
        n=len(means),
        repeats=side.repeats(),
        launches=launches,
    )


def _typical(values: Sequence[float]) -> float:
    """Geometric mean, since ratios are what is judged; 0 where one of them is not positive."""
    if min(values) <= 0:
        return 0.0
    product = 1.0
    for value in values:
        product *= value ** (1 / len(values))
    return product


def record_summary(launches: Iterable[Launch], records: Mapping[str, Record]) -> RecordSummary:
    """What became of every planned cell of one arm on one layout."""
    counts: Counter[str] = Counter()
    problems: list[RecordProblem] = []
    for launch in launches:
        for cell in launch.cells:
            problem = problem_of(records.get(cell.id))
            counts[problem[0] if problem else "ok"] += 1
            if problem:
                status, failure, reason = problem
                problems.append(
                    RecordProblem(cell=cell.id, status=status, failure_class=failure, reason=reason)
                )
    return RecordSummary(planned=counts.total(), counts=dict(counts), problems=problems)


def signals(checks: Sequence[Check], alpha: float, *, comparisons: int) -> list[str]:
    """Rates that no gate judges and that are established to be worse: a score may not show it.

    An arm whose answers are cut off, or end without a result, more often than the reference's.

    Args:
        checks: Of one row.
        alpha: Error rate of all such notes of a run together.
        comparisons: How many rates could give one (Bonferroni).
    """
    return [
        f"{check.job}: {METRICS[check.metric].label} {100 * check.value:.1f} %, "
        f"{100 * check.reference_value:.1f} % in the reference (p {as_p(check.p_worse)})"
        for check in checks
        if not check.gated
        and is_fraction(check.metric)
        and check.value is not None
        and check.reference_value is not None
        and check.p_worse is not None
        and check.p_worse * comparisons < alpha
    ]


def hold_back(checks: Sequence[Check], *, broken_reference: bool) -> list[Check]:
    """Take back what the rest of the row does not allow to be claimed.

    Against a reference that is itself broken nothing is a pass. A gain in speed counts only where
    every accuracy gate of the row is passed, and where there is one: without any, it is a pass,
    since a loss is excluded all the same.
    """
    if broken_reference:
        reason = "the reference itself is broken on this layout, so this comparison says nothing"
        return [
            _taken_back(check, reason)
            if check.against == "reference" and check.verdict in _GOOD
            else check
            for check in checks
        ]
    asked = [check for check in checks if check.gated and _asks(check)]
    if not any(_proves(check) for check in asked):
        reason = "gain not counted, no gate asks for accuracy; a loss beyond the margin is excluded"
        return [
            check.model_copy(
                update={"verdict": Verdict.PASS, "reason": f"{reason}: {check.reason}"}
            )
            if check.verdict is Verdict.IMPROVED and not _asks(check)
            else check
            for check in checks
        ]
    if all(check.verdict in _GOOD for check in asked):
        return list(checks)
    return [
        _taken_back(check, f"gain not counted, accuracy is not proved ({check.reason})")
        if check.verdict is Verdict.IMPROVED and not _asks(check)
        else check
        for check in checks
    ]


def _asks(check: Check) -> bool:
    return asks(check.metric)


def _proves(check: Check) -> bool:
    """Whether a check tells right answers from wrong ones: a rate of errors alone does not."""
    return check.metric == "score" or METRICS[check.metric].compared_as == "shift"


def _taken_back(check: Check, reason: str) -> Check:
    return check.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": reason})


def row_verdict(checks: Sequence[Check], records: RecordSummary, gaps: Sequence[str]) -> Verdict:
    """The worst of the gated checks; and a row with any record missing is never a pass.

    A row of which every record says that this machine cannot run it is unsupported, whatever the
    gates miss in it.
    """
    if records.counts.get(Status.UNSUPPORTED, 0) == records.planned > 0:
        return Verdict.UNSUPPORTED
    verdicts = [c.verdict for c in checks if c.verdict is not None and not c.quarantine]
    if records.problems or gaps:
        verdicts.append(Verdict.MISSING)
    return worst(verdicts)


def row_reasons(
    verdict: Verdict,
    checks: Sequence[Check],
    records: RecordSummary,
    gaps: Sequence[str],
    named: Collection[str],
) -> list[str]:
    """Why, what decides first: checks, records that do not count, and what was not measured.

    Args:
        verdict: The row's.
        checks: Decided.
        records: What became of the row's cells.
        gaps: What the gates need and the row has not.
        named: Cells that a check's reason or a gap names already.
    """
    told = [
        check
        for check in checks
        if check.verdict is not None
        and not check.quarantine
        and (check.verdict not in _GOOD or verdict in _GOOD)
    ]
    told.sort(key=lambda check: check.verdict is not verdict)
    if verdict is Verdict.UNSUPPORTED:
        return list(dict.fromkeys(problem.reason for problem in records.problems))
    reasons = [f"{gate_name(check)}: {check.reason}" for check in told]
    reasons = list(dict.fromkeys([*reasons, *gaps]))
    unsaid = [problem for problem in records.problems if problem.cell not in named]
    if unsaid:
        first = unsaid[0]
        more = f" (and {len(unsaid) - 1} more)" if len(unsaid) > 1 else ""
        failure = f" ({first.failure_class})" if first.failure_class else ""
        reasons.append(f"{first.cell} {first.status}{failure}: {first.reason}{more}")
    return reasons
