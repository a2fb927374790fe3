"""Did communication go the way that the arm is named after? Witness files and log lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.plan.model import LayoutKey
from pipeline.premises.observed import Claims, Evidence, found
from pipeline.records.record import PremiseResult

__all__ = ["communication_path", "unsettled"]

_NAME = "communication path"
_RANK = re.compile(r"rank=(\d+)")


def communication_path(claims: Claims, evidence: Evidence, *, served: bool) -> PremiseResult:
    """The fused operations of a mixed-comm arm on every rank; their absence in every other arm.

    Args:
        claims: What the launch claims.
        evidence: What it left.
        served: Whether the server has decoded anything yet; before, only the start is checked.
    """
    if claims.mixed_comm:
        return _mixed_comm(claims.layout, evidence, served=served)
    if evidence.witnesses or evidence.signs.get("mixed-comm active"):
        return found(
            _NAME,
            "disproved",
            "the MixedComm plugin was active in an arm that does not ask for it",
        )
    return _sglangs_own(claims, evidence)


def _sglangs_own(claims: Claims, evidence: Evidence) -> PremiseResult:
    v2 = bool(evidence.signs.get("custom all-reduce v2"))
    switch = claims.launch.env.get("SGLANG_OPT_USE_CUSTOM_ALL_REDUCE_V2")
    if evidence.signs.get("symmetric memory off") and claims.arm.args.get("enable-symm-mem"):
        return found(_NAME, "disproved", "SGLang's log says that it disabled symmetric memory")
    if v2 and switch == "0":
        return found(
            _NAME,
            "disproved",
            "SGLang's log shows custom all-reduce v2, which this arm switches off: decode batches "
            "go past the two collectives that it is to measure",
        )
    if claims.arm.preset is None:
        return found(_NAME, "proved", "no fused operation ran; the arm claims no backend")
    if claims.device == "cpu" and claims.engine == "sglang":
        return found(
            _NAME,
            "proved",
            "no fused operation ran: SGLang's own collectives, the only ones it has on a CPU",
        )
    seen = "custom all-reduce v2 was set up" if v2 else "no custom all-reduce v2 in the log"
    return found(_NAME, "proved", f"no fused operation ran; {seen}; kernels show in a trace only")


def _mixed_comm(layout: LayoutKey, evidence: Evidence, *, served: bool) -> PremiseResult:
    """Every rank is there, none is idle, and all took both operations of the layout alike."""
    witnesses = evidence.witnesses
    ranks = {witness.get("rank") for witness in witnesses}
    missing = sorted(set(range(layout.tp)) - ranks)
    if missing:
        return found(
            _NAME,
            "disproved",
            f"no witness file of ranks {missing}: the plugin did not start there, and they served "
            "SGLang's own path",
        )
    idle = [
        f"rank {witness['rank']} is idle ({witness['idle_reason']})"
        for witness in witnesses
        if witness.get("idle_reason")
    ]
    if idle:
        return found(_NAME, "disproved", *idle)
    if not served:
        return found(_NAME, "proved", f"the plugin is active on all {layout.tp} ranks")
    return _counted(layout, evidence)


def _counted(layout: LayoutKey, evidence: Evidence) -> PremiseResult:
    witnesses = evidence.witnesses
    operations = (
        ("ALLREDUCE_ALLGATHER", "REDUCESCATTER_ALLREDUCE")
        if layout.fuses
        else ("ALLGATHER", "REDUCESCATTER")
    )
    never = [
        f"rank {witness['rank']} took no {operation}{_passed(witness)}"
        for witness in witnesses
        for operation in operations
        if not _counts(witness, "operations").get(operation)
    ]
    if never:
        return found(_NAME, "disproved", *never)
    apart = unsettled(witnesses)
    if apart:
        return found(_NAME, "disproved", f"the ranks did not run the same calls: {apart}")
    taken = ", ".join(
        f"{operation} {_counts(witnesses[0], 'operations')[operation]}" for operation in operations
    )
    handlers = "/".join(sorted({str(witness.get("handler")) for witness in witnesses}))
    label = "" if layout.fuses else "attention TP is 1: no fusion"
    logged = {
        int(match[1])
        for line in evidence.signs.get("mixed-comm active", ())
        if (match := _RANK.search(line))
    }
    lines = "" if logged >= set(range(layout.tp)) else f"its log names ranks {sorted(logged)} only"
    return found(
        _NAME,
        "proved",
        f"all {layout.tp} ranks, handler {handlers}, calls on each: {taken}{_passed(witnesses[0])}",
        label,
        lines,
    )


def unsettled(witnesses: Sequence[Mapping[str, Any]]) -> str:
    """How the ranks' counts differ; "" if they are all alike.

    Every call is collective, so that equal counts are what is right. Each rank writes its file by
    its own clock: while requests are served, and up to two seconds after, they may differ.
    """
    for field in ("operations", "passed_through"):
        kinds = sorted({kind for witness in witnesses for kind in _counts(witness, field)})
        for kind in kinds:
            counts = {
                witness["rank"]: _counts(witness, field).get(kind, 0) for witness in witnesses
            }
            if len(set(counts.values())) > 1:
                told = ", ".join(f"rank {rank} {count}" for rank, count in counts.items())
                return f"{kind}: {told}"
    return ""


def _counts(witness: Mapping[str, Any], field: str) -> dict[str, int]:
    counts = witness.get(field)
    if not isinstance(counts, Mapping):
        return {}
    return {str(kind): n for kind, n in counts.items() if isinstance(n, int)}


def _passed(witness: Mapping[str, Any]) -> str:
    passed = _counts(witness, "passed_through")
    if not passed:
        return ""
    return " (passed through: " + ", ".join(f"{key} {n}" for key, n in passed.items()) + ")"
