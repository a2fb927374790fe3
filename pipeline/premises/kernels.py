"""Kernel families of decode steps, from a trace: the only proof of which kernels SGLang ran."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.premises.observed import KERNELS, Claims, found
from pipeline.records.record import PremiseResult

# From SGLang 0.5.23: one gather before and one reduce-scatter after the experts of each layer
# (srt/layers/dp_attention.py), each of two NCCL collectives where attention TP > 1, of one where it
# is 1; one kernel each with MixedComm.


# Embedding and logits have collectives of their own, once a step and not once a layer.
_BESIDE = 4


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a decode step must look like.

    Attributes:
        present: Families that must be there.
        absent: Families that must not.
        per_layer: Kernels of a family for each layer with experts; a few more a step are none's.
        few: Families of which no more may be there than embedding and logits need.
    """

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    per_layer: Mapping[str, int] = field(default_factory=dict)
    few: tuple[str, ...] = ()


def expectation(preset: str, *, attention_tp: int, attention_dp: int, device: str) -> Expectation:
    """What the preset runs on a layout; nothing is expected without attention DP.

    ``default`` is whatever SGLang does: it only must not be another arm's.
    """
    if attention_dp == 1:
        return Expectation(absent=("mixed",))
    fuses = attention_tp > 1
    if device == "cpu":
        return _on_cpu(preset, fuses=fuses)
    collectives = 4 if fuses else 2
    if preset == "nccl":
        return Expectation(
            present=("nccl",),
            absent=("mixed", "nccl-symmetric", "sglang-ar-v2"),
            per_layer={"nccl": collectives},
        )
    if preset == "nccl-symmetric":
        return Expectation(present=("nccl-symmetric",), absent=("mixed", "sglang-ar-v2"))
    if preset == "mixed-comm":
        return Expectation(
            present=("mixed",),
            absent=("nccl-symmetric", "sglang-ar-v2"),
            per_layer={"mixed": 2},
            few=("nccl",),
        )
    return Expectation(absent=("mixed", "nccl-symmetric"))


def _on_cpu(preset: str, *, fuses: bool) -> Expectation:
    """The reference handler is one all-gather an operation; SGLang's own path scatters, too."""
    if preset == "mixed-comm":
        return Expectation(
            present=("c10d-all-gather",),
            absent=("c10d-reduce-scatter",),
            per_layer={"c10d-all-gather": 2},
        )
    each = 2 if fuses else 1
    return Expectation(
        present=("c10d-all-gather", "c10d-reduce-scatter"),
        per_layer={"c10d-all-gather": each, "c10d-reduce-scatter": each},
    )


def disagreements(expected: Expectation, kernels: Mapping[str, Any]) -> list[str]:
    """Where what was seen is not what was expected; empty: it agrees.

    Args:
        expected: What the arm must show.
        kernels: As :func:`evals.comm_kernels.outcome.count` gives it, and ``layers`` where known.
    """
    families = kernels.get("families", {})
    layers = kernels.get("layers")
    wrong = [f"no kernel of {name}" for name in expected.present if not families.get(name)]
    wrong += [
        f"{_text(families[name])} kernels of {name} a step, which this arm must not run"
        for name in expected.absent
        if families.get(name)
    ]
    wrong += [
        f"{_text(families[name])} kernels of {name} a step, more than embedding and logits need"
        for name in expected.few
        if _most(families.get(name, 0)) > _BESIDE
    ]
    for name, each in expected.per_layer.items():
        seen = families.get(name)
        if not seen or not isinstance(layers, int):
            continue
        least = each * layers
        # A draft model's own layers come on top.
        most = math.inf if kernels.get("rounds") else least + _BESIDE
        if not (_least(seen) >= least and _most(seen) <= most):
            wrong.append(
                f"{_text(seen)} kernels of {name} a step, expected {least} ({each} for each of "
                f"{layers} layers, and up to {_BESIDE} beside)"
            )
    wrong += [
        f"unknown kernel that looks like communication: {name} ({number} a step)"
        for name, number in kernels.get("unknown", {}).items()
    ]
    return wrong


def _least(count: Any) -> int:  # noqa: ANN401 - a number, or the smallest and largest of several
    return int(count["min"]) if isinstance(count, Mapping) else int(count)


def _most(count: Any) -> int:  # noqa: ANN401
    return int(count["max"]) if isinstance(count, Mapping) else int(count)


def _text(count: Any) -> str:  # noqa: ANN401
    least, most = _least(count), _most(count)
    return str(least) if least == most else f"{least} to {most}"


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
