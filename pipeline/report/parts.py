"""The report's table of what each change of ITL is made of, and the line on bought launches."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.gate.closure import Closure, Part
from pipeline.gate.model import Judgement
from pipeline.plan import Plan

__all__ = ["ClosureLine", "bought_text", "closure_lines", "closure_texts"]

_NONE = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class ClosureLine:
    """One closure row as texts.

    Attributes:
        layout: The layout's name.
        arm: The arm.
        jobs: The latency job and the job of traces.
        changes: Of ITL, communication, other kernels, gaps, and what is left unexplained; empty
            where there is no row.
        warning: Kernels that are too good; "" for none.
        missing: Why there is no row; "" where there is one.
    """

    layout: str
    arm: str
    jobs: str
    changes: list[str]
    warning: str
    missing: str


def closure_lines(judgement: Judgement) -> list[ClosureLine]:
    """One for each closure row of the run."""
    return [
        ClosureLine(
            layout=str(one.layout),
            arm=one.arm,
            jobs=f"{one.job} by {one.traced}",
            changes=[_change(part) for part in _parts(one)],
            warning=_warning(one),
            missing=one.missing,
        )
        for one in judgement.closures
    ]


def closure_texts(judgement: Judgement) -> list[str]:
    """The same as one plain line each, for a terminal."""
    found: list[str] = []
    for one, line in zip(judgement.closures, closure_lines(judgement), strict=True):
        where = f"{line.arm} on {line.layout}, {line.jobs}"
        if line.missing:
            found.append(f"{where}: what ITL is made of is not known: {line.missing}")
            continue
        told = [f"{part.name} {text}" for part, text in zip(_parts(one), line.changes, strict=True)]
        warning = f"; {line.warning}" if line.warning else ""
        found.append(f"{where}: {told[0]} = {' + '.join(told[1:])}{warning}")
    return found


def _parts(one: Closure) -> list[Part]:
    return [part for part in (one.itl, *one.parts, one.unexplained) if part is not None]


def _change(part: Part) -> str:
    text = f"{part.change_ms:+.3f} ms"
    if part.interval is None:
        return f"{text} (no interval)"
    return f"{text} [{part.interval[0]:+.3f}, {part.interval[1]:+.3f}]"


def _warning(one: Closure) -> str:
    if not one.too_good:
        return ""
    first = one.too_good[0]
    more = f" and {len(one.too_good) - 1} more" if len(one.too_good) > 1 else ""
    return (
        f"too good: {first.kernel} {first.reference_ms:.4g} ms to {first.arm_ms:.4g} ms{more}, "
        "although nothing should have changed it"
    )


def bought_text(plan: Plan, judgement: Judgement) -> str:
    """How many launches were bought beyond the planned ones; "" where none may be."""
    if plan.sequential is None:
        return ""
    took = sum(one.launches for one in judgement.bought)
    possible = sum(one.possible for one in judgement.bought)
    each = ", ".join(
        f"{one.launches} of {one.arm} on {one.layout}" for one in judgement.bought if one.launches
    )
    told = f": {each}" if each else ""
    return (
        f"Launches bought because a gated speed was undecided: {took} of the {possible} that "
        f"sequential.max_launches {plan.sequential.max_launches} allows{told}. The others were not "
        "needed."
    )
