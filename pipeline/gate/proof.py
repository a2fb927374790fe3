"""What was asked, found and missing of the proof that each arm ran what it claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from launchers.backends import MIXED_COMM_PLUGIN
from pipeline.gate.model import Check, Premise, Proof, Verdict
from pipeline.plan.model import LayoutKey, Plan
from pipeline.premises import KERNELS
from pipeline.records.record import Record, Status

__all__ = ["broken", "notes", "premises", "proof", "take_back"]

_ORDER = ("disproved", "unproved", "proved")
_NO_TRACE = Premise(
    name=KERNELS,
    state="unproved",
    detail="no trace was taken; a job of kind comm-kernels takes one on a launch of its own",
    launches=[],
)


def premises(records: Iterable[Record]) -> list[Premise]:
    """Findings of all records of an arm on a layout, equal ones put together, the worst first.

    The kernels that decoding ran are asked of every arm: where no record speaks of them, they are
    unproved.
    """
    launches: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for record in records:
        for premise in record.premises:
            at = launches[premise.name, premise.state, premise.detail]
            if record.launch not in at:
                at.append(record.launch)
    if not launches:
        return []
    found = [
        Premise.model_validate({"name": n, "state": s, "detail": d, "launches": at})
        for (n, s, d), at in launches.items()
    ]
    if all(one.name != KERNELS for one in found):
        found.append(_NO_TRACE)
    return sorted(found, key=lambda premise: _ORDER.index(premise.state))


def proof(found: Sequence[Premise]) -> Proof:
    """The names of the proofs asked for, by what became of them; the worst finding counts."""
    worst: dict[str, str] = {}
    for premise in found:  # the worst comes first
        worst.setdefault(premise.name, premise.state)
    names = list(dict.fromkeys(premise.name for premise in found))

    def of(state: str) -> list[str]:
        return [name for name in names if worst[name] == state]

    return Proof(
        asked=sorted(names), found=of("proved"), missing=of("unproved"), disproved=of("disproved")
    )


def broken(records: Iterable[Record]) -> str:
    """Why nothing that was measured of this arm on this layout counts; "" if it may count.

    One launch that did not run what it claims says that the arm was not set up as it should be.
    """
    for record in records:
        if record.status is Status.INVALID and record.failure_class == "premise":
            return f"{record.cell}: {record.reason}"
    return ""


def take_back(checks: Sequence[Check], own: str, reference: str) -> list[Check]:
    """Verdicts that an invalid arm, or an invalid reference, does not allow: missing instead."""

    def reason(check: Check) -> str:
        if own:
            return f"the arm is invalid: {own}"
        if reference and check.against == "reference":
            return f"the reference is invalid: {reference}"
        return ""

    return [
        check.model_copy(update={"verdict": Verdict.MISSING, "reason": why})
        if check.verdict is not None and (why := reason(check))
        else check
        for check in checks
    ]


def notes(plan: Plan, layout: LayoutKey, arm: str) -> list[str]:
    """What a reader must know of an arm on a layout before its numbers."""
    loads = next(one.plugins for one in plan.arms if one.name == arm)
    if MIXED_COMM_PLUGIN in loads and 1 < layout.attention_dp == layout.tp:
        return ["no fusion: attention TP is 1, so MixedComm gathers and scatters only"]
    return []
