"""What a run did not check, computed from its plan and judgement so that no reader assumes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from evals.metrics import METRICS
from pipeline.gate.evidence import asks
from pipeline.gate.gains import repeats_reference
from pipeline.gate.model import Judgement, Verdict
from pipeline.gate.reach import gates_out_of_reach
from pipeline.plan.model import Plan

__all__ = ["caveats", "not_checked"]

_TRACED = {"comm_exposed_ms", "other_kernels_ms", "traced_step_ms"}


_FAKE = (
    "Fake engine: nothing was measured. Speeds and answers are what the experiment told the "
    "servers to pretend; this shows that the experiment runs and what its report looks like."
)
_CPU = (
    "The servers ran on CPUs. The numbers here prove routing and meaning (the arms ran what they "
    "claim and answer alike), never the speed of a GPU."
)
_NO_TRACE = (
    "Time in communication kernels: no trace was taken, so a change of ITL is not traced to "
    "communication."
)
_NO_LATENCY = (
    "What a change of ITL is made of: no latency job has as many requests in flight as the traces."
)


def caveats(plan: Plan) -> list[str]:
    """What a reader must know before any number."""
    if plan.engine == "fake":
        return [_FAKE]
    return [_CPU] if plan.device == "cpu" else []


def not_checked(plan: Plan, judgement: Judgement) -> list[str]:
    """Everything left out, the gravest first."""
    return [
        *_gates(plan),
        *gates_out_of_reach(judgement),
        *_replication(plan),
        *_unsupported(judgement),
        *_facts(judgement),
        *_premises(judgement),
        *_ungated(judgement),
        *_traces(judgement),
    ]


def _traces(judgement: Judgement) -> Iterable[str]:
    times = {one.job for row in judgement.rows for one in row.measured if one.metric in _TRACED}
    if not times:
        yield _NO_TRACE
        return
    if not judgement.closures:
        yield _NO_LATENCY
    for one in judgement.closures:
        if one.missing:
            yield f"What a change of ITL of {one.arm} on {one.layout} is made of: {one.missing}."


def _unsupported(judgement: Judgement) -> Iterable[str]:
    for row in judgement.rows:
        if row.verdict is Verdict.UNSUPPORTED:
            yield f"{row.arm} on {row.layout}, unsupported on this machine: {row.reasons[0]}."


def _facts(judgement: Judgement) -> Iterable[str]:
    if not judgement.facts_kept:
        yield (
            "Undeclared differences between the arms: this run kept no facts.json of its launches."
        )


def _gates(plan: Plan) -> Iterable[str]:
    gates = [(metric, gate) for metrics in plan.gates.values() for metric, gate in metrics.items()]
    if not gates:
        yield "Anything: no gate is set, so nothing is judged."
    elif not any(asks(metric) for metric, _ in gates):
        yield "Accuracy: no gate on a score, so a gain in speed may have been paid for in answers."
    elif all(gate.floor is None for metric, gate in gates if metric == "score"):
        yield (
            "The level of a score: no floor is set, so an answer that is wrong in every arm alike "
            "goes unnoticed."
        )
    if gates and all(asks(metric) for metric, _ in gates):
        yield "Speed: no gate on latency or throughput."


def _replication(plan: Plan) -> Iterable[str]:
    if plan.launches_per_arm == 1:
        yield (
            "How launches differ by themselves: one launch an arm, so no difference in speed can "
            "be told from chance."
        )
    once = sorted(
        name
        for name, job in plan.jobs.items()
        if job.get("kind") == "accuracy"
        and (job.get("launches") == 1 or plan.launches_per_arm == 1)
    )
    if once:
        yield (
            f"Whether answers differ from launch to launch: {', '.join(once)} ran on one launch of "
            "each arm and layout."
        )
    if not repeats_reference(plan):
        yield (
            "The noise floor: no arm repeats the reference (A/A), so the gate's own false alarms "
            "were not watched."
        )
    if len(plan.layouts) == 1:
        yield "The reference against itself on another layout: the experiment has one layout."


def _premises(judgement: Judgement) -> Iterable[str]:
    unproved: dict[tuple[str, str], list[str]] = defaultdict(list)
    silent: list[str] = []
    for row in judgement.rows:
        if not row.premises and row.verdict is not Verdict.UNSUPPORTED:
            silent.append(f"{row.arm} on {row.layout}")
        for premise in row.premises:
            if premise.state == "unproved":
                unproved[premise.name, premise.detail].append(f"{row.arm} on {row.layout}")
    for (name, detail), where in unproved.items():
        yield f"Premise “{name}”, unproved for {', '.join(where)}: {detail}."
    if silent:
        yield f"Premises of {', '.join(silent)}: no record speaks of them."


def _ungated(judgement: Judgement) -> Iterable[str]:
    shown: dict[str, list[str]] = defaultdict(list)
    for row in judgement.rows:
        gated = {(check.job, check.metric) for check in row.checks if check.gated}
        if row.role == "reference":
            continue
        for one in row.measured:
            label = METRICS[one.metric].label
            if (one.job, one.metric) not in gated and label not in shown[one.job]:
                shown[one.job].append(label)
    for job, labels in shown.items():
        if labels:
            yield f"Measured and shown, but not gated, in {job}: {', '.join(labels)}."
