"""Do two arms differ in nothing but what the experiment declares? Asked of facts, not of plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from pipeline.plan.model import ArmPlan, Place, Plan, by_place
from pipeline.records.facts import Facts

__all__ = ["undeclared"]

# Sizes that SGLang computes from the memory that is left, which no two starts share to the byte.
_MEASURED = frozenset(
    {
        "arguments.max_total_num_tokens",
        "arguments.max_req_input_len",
        "arguments.max_running_requests",
    }
)
_MEASURED_TOLERANCE = 0.05

_NAMED = 4


def undeclared(
    plan: Plan, facts: Mapping[str, Facts], measured: AbstractSet[str]
) -> dict[Place, str]:
    """Layouts and arms that may not be compared with the reference, and why, in one sentence.

    Every launch of an arm, the reference's own too, is held against the reference's first launch on
    the same layout.

    Args:
        plan: What was to be run.
        facts: What each launch ran with, by its id; empty for a run that kept none.
        measured: Launches with a record that counts. Facts that one of them lacks while others have
            theirs have been lost, and nothing is known of it.
    """
    if not facts:
        return {}
    arms = {arm.name: arm for arm in plan.arms}
    reference = arms[plan.reference]
    found: dict[Place, str] = {}
    launches, lost = by_place(plan.launches), measured - facts.keys()
    for layout in plan.layouts:
        own = launches[layout, reference.name]
        base = next((launch for launch in own if launch.id in facts), None)
        if base is None:
            continue
        for arm in arms.values():
            own = launches[layout, arm.name]
            differing = [
                text
                for launch in own
                if launch.id in facts
                for text in _differences(facts, (launch.id, base.id), arm, reference)
            ]
            differing += [f"{launch.id} has no facts.json" for launch in own if launch.id in lost]
            if differing:
                found[layout, arm.name] = _sentence(differing, arm, reference)
    return found


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings and lists of mappings as dotted keys; any other list is one value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{index}")
    else:
        yield prefix, value


def _unlike(own: Facts, base: Facts) -> list[dict[str, object]]:
    """Both with dotted keys, without the mappings' items that are equal: those are the most."""
    unlike = {
        kind: {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
        for kind, ours, theirs in (
            (kind, getattr(own, kind), getattr(base, kind))
            for kind in Facts.model_fields
            if kind != "schema_version"
        )
    }
    return [dict(_flat(side.model_dump(mode="json", include=unlike))) for side in (own, base)]


def _differences(
    facts: Mapping[str, Facts], ids: tuple[str, str], arm: ArmPlan, reference: ArmPlan
) -> Iterator[str]:
    """How a launch of an arm differs from the reference's first, both by their ids."""
    ours, theirs = _unlike(*(facts[launch] for launch in ids))
    declared = () if arm is reference else _declared(arm, reference)
    for key in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(key), theirs.get(key)
        if here == there or (key in _MEASURED and _near(here, there)):
            continue
        if not any(fnmatchcase(key, pattern) for pattern in declared):
            yield f"{key} is {_text(here)} in {ids[0]} and {_text(there)} in {ids[1]}"


def _declared(arm: ArmPlan, reference: ArmPlan) -> Sequence[str]:
    flags = {flag.replace("-", "_") for side in (arm, reference) for flag in side.args}
    variables = {name for side in (arm, reference) for name in side.env}
    if arm.plugins != reference.plugins:
        variables.add("SGLANG_PLUGINS")
    return [
        *(f"arguments.{flag}" for flag in sorted(flags)),
        *(
            f"{where}.{name}"
            for name in sorted(variables)
            for where in ("environment", "rank_environment")
        ),
        *arm.differs,
        *reference.differs,
    ]


def _near(one: object, other: object) -> bool:
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return False
    return abs(one - other) <= _MEASURED_TOLERANCE * max(abs(one), abs(other))


def _text(value: object) -> str:
    return "not there" if value is None else str(value)


def _sentence(differing: Sequence[str], arm: ArmPlan, reference: ArmPlan) -> str:
    named = list(dict.fromkeys(differing))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    told = "; ".join(named[:_NAMED]) + more
    if arm is reference:
        return f"launches of the reference differ in what nobody declared: {told}"
    return (
        f"the arms differ in what nobody declared: {told}. Where it is meant, say so in "
        f"arms.{arm.name}.differs"
    )
