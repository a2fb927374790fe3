"""Which arms are one thing under two names: an A/A, whose differences are all noise; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launchers.engines import flags
from pipeline.plan.model import ArmPlan, Launch, Place, Plan, by_place
from pipeline.premises.arguments import asked_flags, holds
from pipeline.records.facts import Facts

__all__ = ["equal_arms", "repeats_line", "with_resolved_repeats"]


def equal_arms(plan: Plan, parsed: Mapping[tuple[str, ...], str] | None = None) -> dict[str, str]:
    """Arms that run what an earlier arm runs, by name, and that arm; the reference is the first.

    Their environments are equal, and their flags are, in whatever order they were written.

    Args:
        plan: The plan.
        parsed: All arguments as the engine's parser has them, defaults filled in, by command line;
            where they are equal, so are the flags. None: nobody asked it.
    """
    signatures = {
        arm.name: [
            _signature(launch, arm, parsed or {})
            for launch in plan.launches
            if launch.arm == arm.name and launch.block == 0
        ]
        for arm in sorted(plan.arms, key=lambda arm: arm.name != plan.reference)
    }
    found: dict[str, str] = {}
    different: dict[str, list[object]] = {}
    for name, own in signatures.items():
        earlier = next((other for other, theirs in different.items() if own == theirs), None)
        if earlier is None:
            different[name] = own
        else:
            found[name] = earlier
    return found


def _signature(launch: Launch, arm: ArmPlan, parsed: Mapping[tuple[str, ...], str]) -> object:
    # The fake engine's settings hold a seed of the launch's own.
    written = sorted(flag for flag in asked_flags(launch.argv) if flag[0] != "fake")
    arguments = parsed.get(tuple(launch.argv), written)
    fake = arm.fake if any(word == "--fake" for word in launch.argv) else {}
    return str(launch.layout), arguments, launch.env, launch.env_unset, launch.under, fake


def repeats_line(plan: Plan) -> list[str]:
    """What a plan says of its equal arms, one line each."""
    return [
        f"A/A: {name} runs what {other} runs: the same environment, and the same flags"
        + (" once SGLang's defaults are filled in" if _flags_of(plan, name, other) else "")
        for name, other in plan.repeats.items()
    ]


def _flags_of(plan: Plan, name: str, other: str) -> bool:
    """Whether the file gives these arms different flags."""
    arms = {arm.name: arm for arm in plan.arms}
    return arms[name].args != arms[other].args


def with_resolved_repeats(plan: Plan, facts: Mapping[str, Facts]) -> Plan:
    """The plan with those arms, too, whose servers resolved other flags to what the reference has.

    A flag counts only where /server_info shows that the server has it as it was asked for: of one
    that SGLang overrode, nobody knows what else follows from it.

    Args:
        plan: The plan.
        facts: What each launch ran with, by its id.
    """
    arms = {arm.name: arm for arm in plan.arms}
    reference = arms[plan.reference]
    launches = by_place(launch for launch in plan.launches if launch.id in facts)
    first = {place: facts[known[0].id] for place, known in launches.items()}
    same = {
        name: plan.reference
        for name, arm in arms.items()
        if arm is not reference
        and name not in plan.repeats
        and (arm.env, arm.plugins) == (reference.env, reference.plugins)
        and (plan.engine != "fake" or arm.fake == reference.fake)
        and _resolved_alike(plan, first, arm, reference)
    }
    return plan.model_copy(update={"repeats": {**plan.repeats, **same}})


def _resolved_alike(
    plan: Plan, first: Mapping[Place, Facts], arm: ArmPlan, reference: ArmPlan
) -> bool:
    pairs = [
        (first.get((layout, arm.name)), first.get((layout, reference.name)))
        for layout in plan.layouts
    ]
    known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return bool(known) and all(
        ours.arguments == theirs.arguments
        and _as_asked(arm, ours.arguments)
        and _as_asked(reference, theirs.arguments)
        for ours, theirs in known
    )


def _as_asked(arm: ArmPlan, arguments: Mapping[str, object]) -> bool:
    asked: Sequence[tuple[str, list[str]]] = list(asked_flags(flags(arm.args)))
    return all(holds(flag, values, arguments) for flag, values in asked)
