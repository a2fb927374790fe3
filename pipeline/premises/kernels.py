"""Kernel families of decode steps, from a trace: the only proof of which kernels SGLang ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.comm_kernels.expected import disagreements, expectation
from pipeline.premises.evidence import KERNELS, Claims, found
from pipeline.records import PremiseResult

__all__ = ["decode_kernels"]


def decode_kernels(claims: Claims, kernels: Mapping[str, Any]) -> PremiseResult:
    """The families that the arm's preset runs, in their number a step, and none that it excludes.

    Args:
        claims: What the launch claims.
        kernels: ``details["kernels"]`` of a comm-kernels record.
    """
    seen = _seen(kernels)
    if claims.arm.preset is None:
        return found(KERNELS, "proved", f"a decode step has {seen}; the arm claims no backend")
    wanted = expectation(
        claims.arm.preset,
        attention_tp=claims.layout.attention_tp,
        attention_dp=claims.layout.attention_dp,
        device=claims.device,
    )
    wrong = disagreements(wanted, kernels)
    if wrong:
        return found(KERNELS, "disproved", *wrong, f"a decode step has {seen}")
    steps, ranks = kernels.get("steps"), kernels.get("ranks")
    return found(KERNELS, "proved", f"{steps} decode steps on {ranks} ranks, each with {seen}")


def _seen(kernels: Mapping[str, Any]) -> str:
    families = kernels.get("families")
    if not isinstance(families, Mapping) or not families:
        return "no communication kernel"
    return ", ".join(f"{name} {_number(count)}" for name, count in families.items())


def _number(count: object) -> str:
    if isinstance(count, Mapping):
        return f"{count.get('min')} to {count.get('max')}"
    return f"{count:g}" if isinstance(count, int | float) else str(count)
