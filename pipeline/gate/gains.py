"""Speed against every further baseline, and against the best of them: is a gain worth a change?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, isnan, log

from evals.metrics import METRICS
from pipeline.gate import extra_launches, speed
from pipeline.gate.evidence import Evidence, Key, asks
from pipeline.gate.model import Check, NoiseFloor, Verdict
from pipeline.gate.text import as_change, as_p
from pipeline.plan.model import ArmPlan, LayoutKey, Place, Plan


def claimed(
    plan: Plan,
    checks: Mapping[Place, list[Check]],
    evidence: Mapping[Key, Evidence],
    alarms: int,
) -> tuple[dict[Place, list[Check]], list[NoiseFloor]]:
    """The checks with those against further baselines, and no gain that does not hold there.

    Nor one that is below what an arm that repeats the reference shows to be
    """
    floors = [
        floor
        for arm in repeats_reference(plan)
        for layout in plan.layouts
        for floor in noise_floors(layout, arm, checks[layout, arm])
    ]
    design, followed = extra_launches.design_of(plan), extra_launches.followed_jobs(plan)

    def allowed(check: Check) -> float:
        if design is None or check.job not in followed or check.n is None:
            return plan.alpha / max(1, alarms)
        return extra_launches.level(design, check.n).harm

    made: dict[Place, list[Check]] = {}
    for (layout, arm), own in checks.items():
        every = [*own, *against_baselines(plan, layout, arm, evidence)]
        every = better_than_all(every, allowed)
        made[layout, arm] = above_floor(layout, every, floors)
    return made, floors


def repeats(arm: ArmPlan, other: ArmPlan) -> bool:
    """Whether two arms are one thing under two names."""
    names = {"args", "env", "plugins", "fake"}
    return arm.model_dump(include=names) == other.model_dump(include=names)


def repeats_reference(plan: Plan) -> list[str]:
    """Names of the arms that repeat the reference (A/A), by their file or as they were resolved."""
    reference = next(arm for arm in plan.arms if arm.name == plan.reference)
    return [
        arm.name
        for arm in plan.arms
        if arm is not reference
        and (repeats(arm, reference) or plan.repeats.get(arm.name) == plan.reference)
    ]


def notes(plan: Plan, arm: str) -> list[str]:
    """What a row says of an arm that repeats the reference although its flags are written so."""
    arms = {one.name: one for one in plan.arms}
    if plan.repeats.get(arm) != plan.reference or repeats(arms[arm], arms[plan.reference]):
        return []
    return [f"runs what {plan.reference} runs (A/A): SGLang's defaults already hold its own flags"]


def noise_floors(layout: LayoutKey, arm: str, checks: Iterable[Check]) -> list[NoiseFloor]:
    """The floor of every speed of one layout, from the checks of an arm that repeats the reference.

    The floor is the bound of the A/A ratio that lies farther from 1: no smaller difference between
    two equal arms is excluded by the launches of this very run.
    """
    return [
        NoiseFloor(
            layout=layout,
            arm=arm,
            job=check.job,
            metric=check.metric,
            ratio=check.estimate,
            interval=check.interval,
            floor=exp(max(abs(log(bound)) for bound in check.interval)) - 1,
            launches=check.n,
        )
        for check in checks
        if check.measure == "ratio"
        and check.against == "reference"
        and check.estimate is not None
        and check.interval is not None
        and check.n is not None
    ]


def above_floor(
    layout: LayoutKey, checks: Sequence[Check], floors: Sequence[NoiseFloor]
) -> list[Check]:
    """Gains that are not larger than what equal arms may show are passes, and say so."""
    known = {(one.layout, one.job, one.metric): one for one in floors}
    return [_limited(check, known.get((layout, check.job, check.metric))) for check in checks]


def _limited(check: Check, floor: NoiseFloor | None) -> Check:
    if floor is None or check.verdict is not Verdict.IMPROVED or check.estimate is None:
        return check
    if abs(log(check.estimate)) > log(1 + floor.floor):
        return check
    reason = (
        f"{as_change(check.estimate)} is no gain to claim: the A/A arm {floor.arm} shows that "
        f"{100 * floor.floor:.3g} % may be noise; a loss beyond the margin is excluded"
    )
    return check.model_copy(update={"verdict": Verdict.PASS, "reason": reason})


# Compared besides everything that is gated.
_SHOWN = ("median_itl_ms", "median_ttft_ms", "output_throughput")


def against_baselines(
    plan: Plan, layout: LayoutKey, arm: str, evidence: Mapping[Key, Evidence]
) -> list[Check]:
    """Checks of one arm against each baseline and the best of them; none gates by itself.

    The reference is a baseline, too; its ratio is the gated check. A baseline is not held against
    the others, nor is an arm that repeats the reference.

    Args:
        plan: The plan; ``baselines`` names the further ones.
        layout: The layout.
        arm: The arm.
        evidence: Of the whole run.
    """
    left_out = {plan.reference, *plan.baselines, *repeats_reference(plan)}
    if not plan.baselines or arm in left_out:
        return []
    made: list[Check] = []
    for job, gates in ((job, plan.gates.get(job, {})) for job in plan.jobs):
        side = evidence.get((layout, arm, job))
        if side is None:
            continue
        seen = {name for record in side.records for name in record.metrics}
        for name, metric in METRICS.items():
            if asks(name) or metric.better == "neither":
                continue
            if name in gates or (name in _SHOWN and name in seen):
                made += _of_metric(plan, (layout, job, name), side, evidence)
    return made


def _of_metric(
    plan: Plan, what: tuple[LayoutKey, str, str], side: Evidence, evidence: Mapping[Key, Evidence]
) -> list[Check]:
    layout, job, metric = what
    # The best of k baselines lies below k bounds at once, so each keeps alpha / k for that.
    names = [plan.reference, *plan.baselines]
    each: list[Check] = []
    strict: list[Check] = []
    for name in names:
        # The reference may have launches that others bought: only what was run side by side.
        other = evidence[layout, name, job].in_blocks_of(side)
        made = [
            speed.against_reference(job, metric, side, other, None, alpha).model_copy(
                update={"against": "baseline", "other": name}
            )
            for alpha in (plan.alpha, plan.alpha / len(names))
        ]
        each.append(made[0])
        strict.append(made[1])
    return [*each[1:], _best(each, strict)]


def _best(each: Sequence[Check], strict: Sequence[Check]) -> Check:
    """The arm against the best baseline, without choosing it by the data and then trusting it.

    As a ratio in which more is worse, the one against the best is the largest of all. It lies below
    the largest of the upper bounds with the error rate of one of them, since that of the truly best
    is among them; and above the largest of the lower bounds with the error rate of all together,
    so these are taken at alpha / k. "Better than the best" is "better than each" (an
    intersection-union test: the largest p-value); "worse than the best" is "worse than any"
    (Bonferroni).
    """
    first = each[0]
    base = Check(
        job=first.job, metric=first.metric, against="best baseline", gated=False, measure="ratio"
    )
    without = [check for check in each if check.estimate is None]
    if without:
        reason = f"{without[0].other}: {without[0].reason}"
        return base.model_copy(update={"reason": reason})
    lower_is_better = METRICS[first.metric].better == "lower"
    extreme = max if lower_is_better else min
    best = extreme(each, key=lambda check: _number(check.estimate))
    known: dict[str, object] = {"interval": None, "p_worse": None, "p_better": None}
    if all(check.interval is not None for check in each):
        loose = extreme(check.interval[lower_is_better] for check in each if check.interval)
        tight = extreme(check.interval[not lower_is_better] for check in strict if check.interval)
        known = {
            "interval": (tight, loose) if lower_is_better else (loose, tight),
            "p_worse": min(1.0, len(each) * min(_number(check.p_worse) for check in each)),
            "p_better": max(_number(check.p_better) for check in each),
        }
    return base.model_copy(
        update={
            "other": best.other,
            "value": best.value,
            "reference_value": best.reference_value,
            "estimate": best.estimate,
            "n": best.n,
            "method": f"best of {len(each)} baselines; {best.method}",
            **known,
        }
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def better_than_all(checks: Sequence[Check], allowed: Callable[[Check], float]) -> list[Check]:
    """Gains that are not established against every baseline are passes, and say so.

    Args:
        checks: Decided checks of one arm on one layout, with those against the
        allowed: One-sided error rate of one check's claim: alpha over the gated comparisons of the
            run (Bonferroni), or less where launches may be bought.
    """
    best = {(c.job, c.metric): c for c in checks if c.against == "best baseline"}
    return [_held(check, best.get((check.job, check.metric)), allowed) for check in checks]


def _held(check: Check, best: Check | None, allowed: Callable[[Check], float]) -> Check:
    if best is None or check.verdict is not Verdict.IMPROVED:
        return check
    if best.estimate is None:
        why = f"it could not be held against every baseline ({best.reason})"
    else:
        p, rate = _number(best.p_better), allowed(check)
        if not isnan(p) and p < rate:
            return check
        told = "" if isnan(p) else f", p {as_p(p)} for better than each (below {rate:.2g} asked)"
        why = f"the best baseline is {best.other}, and against it {as_change(best.estimate)}{told}"
    reason = f"no gain to claim: {why}; a loss against the reference is excluded"
    return check.model_copy(update={"verdict": Verdict.PASS, "reason": reason})
