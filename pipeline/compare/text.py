"""Pairings as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pipeline.compare.pairing import Flip, Pairing, Shown

__all__ = ["excerpt", "flip_lines", "pairing_document", "pairing_lines"]

_EXCERPT = 700
_NAMED = 5


def excerpt(text: str, size: int = _EXCERPT) -> str:
    """The end of a long text, where the answer stands."""
    return text if len(text) <= size else f"… {text[-size:].lstrip()}"


def flip_lines(pairings: Iterable[Pairing]) -> str:
    """Every flip of every pairing, whole, one JSON object a line."""
    return "".join(
        json.dumps(
            {
                "job": pairing.job,
                "layout": pairing.layout,
                "reference_arm": pairing.reference,
                "arm_name": pairing.arm,
                **flip.model_dump(mode="json"),
            },
            ensure_ascii=False,
        )
        + "\n"
        for pairing in pairings
        for flip in pairing.flips
    )


def pairing_document(pairing: Pairing) -> dict[str, Any]:
    """A pairing for report.json: flips without their texts, which flips.jsonl has."""
    document: dict[str, Any] = pairing.model_dump(mode="json", exclude={"flips"})
    document["discordance"] = pairing.discordance
    document["flips"] = [_short(flip) for flip in pairing.flips]
    return document


def _short(flip: Flip) -> dict[str, Any]:
    return flip.model_dump(
        mode="json", exclude={"question": True, "reference": {"response"}, "arm": {"response"}}
    )


def pairing_lines(pairing: Pairing) -> list[str]:
    """What a terminal shows of a pairing: a few plain lines."""
    place = f" on {pairing.layout}" if pairing.layout else ""
    sides = f"{pairing.arm} against {pairing.reference}"
    same = "" if pairing.same_text is None else f"; same text {pairing.same_text:.1%}"
    lines = [
        f"{pairing.job}{place}: {sides}, {pairing.questions} questions",
        f"  {pairing.lost} lost, {pairing.gained} gained: {_share(pairing)}{same}",
        f"  marks: {_marks(pairing)}",
    ]
    if pairing.left_out:
        lines.append(f"  {pairing.left_out} questions have no usable answer on one side")
    if pairing.reference_tokens is not None and pairing.arm_tokens is not None:
        lines.append(
            f"  mean tokens {pairing.arm_tokens:.1f} against {pairing.reference_tokens:.1f}"
        )
    lines += [
        f"  level {one.level} ({one.questions} questions): {one.arm:.2%} against "
        f"{one.reference:.2%}, {100 * one.difference:+.2f} points "
        f"[{100 * one.interval[0]:+.2f}, {100 * one.interval[1]:+.2f}]"
        for one in pairing.levels
    ]
    lines += [
        f"  setting {one.name}: {one.arm} against {one.reference}" for one in pairing.settings
    ]
    lines += [
        f"  {'lost' if flip.lost else 'gained'} {flip.id}: expected {flip.expected}, "
        f"{_side(flip.arm)} against {_side(flip.reference)}"
        for flip in pairing.flips[:_NAMED]
    ]
    if len(pairing.flips) > _NAMED:
        lines.append(f"  and {len(pairing.flips) - _NAMED} more")
    return lines


def _share(pairing: Pairing) -> str:
    return f"discordance {pairing.discordance:.2%}"


def _marks(pairing: Pairing) -> str:
    return ", ".join(
        f"{mark.replace('_', ' ')} {pairing.arm_marks[mark]} against {count}"
        for mark, count in pairing.reference_marks.items()
    )


def _side(shown: Shown) -> str:
    if shown.extracted is None:
        return shown.mark.replace("_", " ")
    return f"{shown.extracted} ({shown.mark.replace('_', ' ')})"
