"""Do two arms differ in nothing but what the experiment declares? Asked of facts, not of plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.plan.model import ArmPlan, LayoutKey, Plan
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


@dataclass(frozen=True, kw_only=True)
class _Launch:
    id: str
    flat: Mapping[str, object]


def undeclared(
    plan: Plan, facts: Mapping[str, Facts], measured: AbstractSet[str]
) -> dict[tuple[LayoutKey, str], str]:
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
    found: dict[tuple[LayoutKey, str], str] = {}
    for layout in plan.layouts:
        base = next(iter(_launches(plan, facts, layout, reference.name)), None)
        if base is None:
            continue
        for arm in arms.values():
            differing = [
                text
                for launch in _launches(plan, facts, layout, arm.name)
                for text in _differences(launch, base, arm, reference)
            ]
            differing += [
                f"{launch.id} has no facts.json"
                for launch in plan.launches
                if (launch.layout, launch.arm) == (layout, arm.name)
                and launch.id in measured - facts.keys()
            ]
            if differing:
                found[layout, arm.name] = _sentence(differing, arm, reference)
    return found


def _launches(
    plan: Plan, facts: Mapping[str, Facts], layout: LayoutKey, arm: str
) -> Iterator[_Launch]:
    for launch in plan.launches:
        if (launch.layout, launch.arm) == (layout, arm) and launch.id in facts:
            known = facts[launch.id].model_dump(mode="json", exclude={"schema_version"})
            yield _Launch(id=launch.id, flat=dict(_flat(known)))


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


def _differences(launch: _Launch, base: _Launch, arm: ArmPlan, reference: ArmPlan) -> Iterator[str]:
    declared = () if arm is reference else _declared(arm, reference)
    for key in sorted(launch.flat.keys() | base.flat.keys()):
        here, there = launch.flat.get(key), base.flat.get(key)
        if here == there or (key in _MEASURED and _near(here, there)):
            continue
        if not any(fnmatchcase(key, pattern) for pattern in declared):
            yield f"{key} is {_text(here)} in {launch.id} and {_text(there)} in {base.id}"


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
