"""Holm's correction over the checks of a run that can raise an alarm: answers, and speeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evals.metrics import is_fraction
from pipeline.gate import accuracy, extra_launches, speed
from pipeline.gate.model import Check
from pipeline.gate.staged import asked_in_stages
from pipeline.plan.model import Place, Plan
from pipeline.stats import holm

__all__ = ["decided"]

_FAMILIES = (("accuracy", accuracy.decide_difference), ("speed", speed.decide_ratio))


def decided(
    plan: Plan, checks: Mapping[Place, list[Check]]
) -> tuple[dict[Place, list[Check]], dict[str, int]]:
    """Decide what is still open, with Holm's p-values over everything that can raise an alarm.

    What was asked in stages, or may buy launches, is decided already, each at its share of alpha
    (Bonferroni). Holm counts it as never rejected, so that all together keep to alpha.
    """
    result = {place: list(made) for place, made in checks.items()}
    alarms: dict[str, int] = {}
    for family, decide in _FAMILIES:
        at = [
            (place, index)
            for place, made in result.items()
            for index, check in enumerate(made)
            if check.gated
            and check.verdict is None
            and is_fraction(check.metric) == (family == "accuracy")
        ]
        # Decided already, each at its share of alpha.
        staged = sum(
            check.gated and check.against == "reference" and _by_looks(plan, check)
            for made in result.values()
            for check in made
            if is_fraction(check.metric) == (family == "accuracy")
        )
        worse = _adjusted([result[place][index].p_worse for place, index in at], staged)
        better = _adjusted([result[place][index].p_better for place, index in at], staged)
        for (place, index), p_worse, p_better in zip(at, worse, better, strict=True):
            result[place][index] = decide(result[place][index], p_worse, p_better, plan.alpha)
        alarms[family] = len(at) + staged
    return result, alarms


def _by_looks(plan: Plan, check: Check) -> bool:
    """Whether a check is decided at one of several looks, with an error rate of its own."""
    if is_fraction(check.metric):
        return asked_in_stages(plan, check.job)
    return check.job in extra_launches.followed_jobs(plan)


def _adjusted(p_values: Sequence[float | None], more: int) -> list[float]:
    """Holm over the comparisons that ask the question at all, and `more`; 1 for the others."""
    adjusted = iter(holm([*(p for p in p_values if p is not None), *[1.0] * more]))
    return [1.0 if p is None else next(adjusted) for p in p_values]
