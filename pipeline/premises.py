"""What must be true of a launch for its records to count: pure checks of what the server left.

First form: resolved sizes, live environment, and the witness files of the MixedComm plugin. What
an arm's own kernels were shows in a trace only; until one is taken, that is said to be unproved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launchers.backends import MIXED_COMM_PLUGIN
from pipeline.layout import LayoutKey
from pipeline.plan import Launch
from pipeline.records import PremiseResult

__all__ = ["Evidence", "check_premises", "disproved"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was read from a live launch.

    Attributes:
        server_info: The server's answer to /server_info; {} if it gave none.
        environ: The environment of the live process, read from the kernel.
        witnesses: The witness files that lie in the launch's folder, parsed, in rank order.
    """

    server_info: Mapping[str, Any]
    environ: Mapping[str, str]
    witnesses: Sequence[Mapping[str, Any]]


def check_premises(launch: Launch, evidence: Evidence) -> list[PremiseResult]:
    """One result for each premise, in a fixed order."""
    return [_layout(launch, evidence), _environment(launch, evidence), _path(launch, evidence)]


def disproved(results: Sequence[PremiseResult]) -> str:
    """All that was disproved as one sentence; "" if nothing was."""
    return "; ".join(f"{r.name}: {r.detail}" for r in results if r.state == "disproved")


def _layout(launch: Launch, evidence: Evidence) -> PremiseResult:
    """The sizes as resolved: 0.5.23 reports attention DP as attn_dp_size, 0.5.16 as dp_size."""
    info = evidence.server_info
    wanted = {"tp_size": launch.layout.tp, "ep_size": launch.layout.ep}
    wrong = [
        f"{key} is {info[key]}, planned {size}"
        for key, size in wanted.items()
        if key in info and info[key] != size
    ]
    attention_dp = _attention_dp(info)
    if attention_dp is not None and attention_dp != launch.layout.attention_dp:
        wrong.append(f"attention DP is {attention_dp}, planned {launch.layout.attention_dp}")
    if wrong:
        return PremiseResult(name="layout", state="disproved", detail="; ".join(wrong))
    if attention_dp is None or "tp_size" not in info:
        return PremiseResult(
            name="layout", state="unproved", detail="the server does not tell its sizes"
        )
    return PremiseResult(
        name="layout",
        state="proved",
        detail=f"/server_info says tp and attention DP of {launch.layout}",
    )


def _attention_dp(info: Mapping[str, Any]) -> int | None:
    size = info.get("attn_dp_size", 1)
    if isinstance(size, int) and size > 1:
        return size
    dp_size = info.get("dp_size")
    if not isinstance(dp_size, int):
        return None
    return dp_size if info.get("enable_dp_attention") else 1


def _environment(launch: Launch, evidence: Evidence) -> PremiseResult:
    wrong = [
        f"{name} is {evidence.environ.get(name, 'unset')}, planned {value}"
        for name, value in launch.env.items()
        if evidence.environ.get(name) != value
    ]
    wrong += [
        f"{name} is {evidence.environ[name]}, planned unset"
        for name in launch.env_unset
        if name in evidence.environ
    ]
    if wrong:
        return PremiseResult(name="environment", state="disproved", detail="; ".join(wrong))
    return PremiseResult(
        name="environment",
        state="proved",
        detail=f"the live process has all {len(launch.env)} planned variables",
    )


def _path(launch: Launch, evidence: Evidence) -> PremiseResult:
    if MIXED_COMM_PLUGIN in launch.env.get("SGLANG_PLUGINS", "").split(","):
        return _mixed_comm_path(launch.layout, evidence.witnesses)
    if evidence.witnesses:
        return PremiseResult(
            name="communication path",
            state="disproved",
            detail="the MixedComm plugin left witness files in an arm that does not ask for it",
        )
    return PremiseResult(
        name="communication path",
        state="unproved",
        detail="no MixedComm plugin was active; which of SGLang's own kernels ran, only a trace "
        "shows",
    )


def _mixed_comm_path(layout: LayoutKey, witnesses: Sequence[Mapping[str, Any]]) -> PremiseResult:
    """Every rank must have taken both operations of its layout at least once."""
    name = "communication path"
    operations = (
        ("ALLREDUCE_ALLGATHER", "REDUCESCATTER_ALLREDUCE")
        if layout.fuses
        else ("ALLGATHER", "REDUCESCATTER")
    )
    missing = sorted(set(range(layout.tp)) - {witness.get("rank") for witness in witnesses})
    if missing:
        return PremiseResult(
            name=name, state="disproved", detail=f"no witness file of ranks {missing}"
        )
    idle = [
        f"rank {witness['rank']} took no {operation}{_passed(witness)}"
        for witness in witnesses
        for operation in operations
        if not _taken(witness, operation)
    ]
    if idle:
        return PremiseResult(name=name, state="disproved", detail="; ".join(idle))
    taken = ", ".join(
        f"{operation} {min(_taken(witness, operation) for witness in witnesses)}"
        for operation in operations
    )
    label = "" if layout.fuses else " (attention TP is 1: no fusion)"
    handlers = "/".join(sorted({str(witness.get("handler")) for witness in witnesses}))
    return PremiseResult(
        name=name,
        state="proved",
        detail=f"all {layout.tp} ranks, handler {handlers}, calls of the least busy rank: "
        f"{taken}{label}",
    )


def _taken(witness: Mapping[str, Any], operation: str) -> int:
    operations = witness.get("operations")
    count = operations.get(operation, 0) if isinstance(operations, Mapping) else 0
    return count if isinstance(count, int) else 0


def _passed(witness: Mapping[str, Any]) -> str:
    passed = witness.get("passed_through")
    if not isinstance(passed, Mapping) or not passed:
        return ""
    return " (passed through: " + ", ".join(f"{key} {n}" for key, n in passed.items()) + ")"
