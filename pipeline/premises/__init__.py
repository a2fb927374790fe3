"""What must be true of a launch for its records to count: pure checks of what the server left.

Each premise is a proof that was asked for: proved (found), unproved (missing) or disproved. A
disproved one makes the record invalid; an unproved one is said, and passes no gate that asks for
proof. Which kernels decoding ran shows only in a trace: that premise is asked of an arm as a whole
(:mod:`pipeline.gate.proof`), since a trace is taken on a launch of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.premises.arguments import arguments, layout
from pipeline.premises.environment import environment, plugins
from pipeline.premises.kernels import decode_kernels
from pipeline.premises.observed import KERNELS, Claims, Evidence
from pipeline.premises.path import communication_path, unsettled
from pipeline.records.record import PremiseResult

__all__ = [
    "KERNELS",
    "PREMISES",
    "Claims",
    "Evidence",
    "check_premises",
    "check_start",
    "disproved",
    "served_path",
    "unsettled",
]


PREMISES = (
    "layout",
    "arguments",
    "environment",
    "plugins",
    "communication path",
    KERNELS,
)
"""The names of all premises, in the order in which they are checked."""


def check_start(claims: Claims, evidence: Evidence) -> list[PremiseResult]:
    """What can be disproved before anything was measured: a wrong arm costs its start only."""
    return [
        layout(claims, evidence),
        arguments(claims, evidence),
        environment(claims, evidence),
        plugins(claims, evidence),
        communication_path(claims, evidence, served=False),
    ]


def served_path(claims: Claims, evidence: Evidence) -> PremiseResult:
    """The one premise that only serving can disprove, from the files that a launch left."""
    return communication_path(claims, evidence, served=True)


def check_premises(claims: Claims, evidence: Evidence) -> list[PremiseResult]:
    """One result for each premise that is asked of a record, in a fixed order."""
    found = [
        layout(claims, evidence),
        arguments(claims, evidence),
        environment(claims, evidence),
        plugins(claims, evidence),
        communication_path(claims, evidence, served=True),
    ]
    if evidence.kernels is not None:
        found.append(decode_kernels(claims, evidence.kernels))
    return found


def disproved(results: Sequence[PremiseResult]) -> str:
    """All that was disproved as one sentence; "" if nothing was."""
    return "; ".join(f"{r.name}: {r.detail}" for r in results if r.state == "disproved")
