"""Checks of fractions, question by question: against the reference, a floor, and other layouts."""

from __future__ import annotations

from collections.abc import Mapping

from evals.metrics import METRICS
from pipeline.experiment.gates import Gate
from pipeline.gate.evidence import Evidence, begin, incomparable, missing
from pipeline.gate.model import Check, Verdict
from pipeline.gate.staged import decided_check, decisions, design_of
from pipeline.gate.text import as_p, as_points
from pipeline.plan.model import Plan
from pipeline.stats import Interval, decision, mean_score, paired_difference, questions_needed

__all__ = [
    "against_floor",
    "against_layouts",
    "against_reference",
    "decide_difference",
    "in_stages",
]

# Chance with which an arm that is not worse should pass; the usual choice for planning.
_POWER = 0.8

_FLOOR_METHOD = "Clopper-Pearson interval, or Gaffke's over questions where repeats differ"


def against_reference(
    job: str, metric: str, arm: Evidence, reference: Evidence, gate: Gate | None, alpha: float
) -> Check:
    """The paired difference; undecided, or missing where there is nothing to compare."""
    check, gap = begin(job, metric, "difference", arm, reference, gate)
    if gap:
        return missing(check, gap)
    if arm.stopped() is not None:
        reference = reference.within(arm)
    return _compared(check, arm.question_means(metric), reference.question_means(metric), alpha)


def in_stages(
    plan: Plan, job: str, metric: str, arm: Evidence, reference: Evidence, gate: Gate
) -> Check:
    """The same of a job that asks in stages: decided by the stage at which its arm ended."""
    check = against_reference(job, metric, arm, reference, gate, plan.alpha)
    if check.verdict is not None:
        return check  # missing
    questions: int = arm.records[0].details["examples"]
    design = design_of(plan, job, metric, questions)
    asked = arm.stopped()
    ended = questions if asked is None else asked
    if ended not in design.sizes:
        return missing(check, f"asking stopped after {ended} questions, where no stage ends")
    own, other = arm.question_means(metric), reference.question_means(metric)
    shared = own.keys() & other.keys()
    made = decisions(
        {metric: design},
        design.sizes.index(ended),
        {metric: {key: other[key] for key in shared}},
        {metric: {key: own[key] for key in shared}},
    )
    return decided_check(check, made[metric], design)


def _compared(
    check: Check, arm: Mapping[str, float], reference: Mapping[str, float], alpha: float
) -> Check:
    shared = arm.keys() & reference.keys()
    left_out = len(arm.keys() | reference.keys()) - len(shared)
    if not shared:
        return missing(check, "no question has a usable answer on both sides")
    arm = {key: arm[key] for key in shared}
    reference = {key: reference[key] for key in shared}
    paired = paired_difference(reference, arm, alpha)
    higher_is_better = METRICS[check.metric].better == "higher"
    note = f"; {left_out} questions left out, all their requests failed on one side"
    return check.model_copy(
        update={
            "value": sum(arm.values()) / len(arm),
            "reference_value": sum(reference.values()) / len(reference),
            "estimate": paired.difference,
            "interval": tuple(paired.interval),
            "p_worse": paired.p_lower if higher_is_better else paired.p_higher,
            "p_better": paired.p_higher if higher_is_better else paired.p_lower,
            "n": paired.n,
            "higher": paired.higher,
            "lower": paired.lower,
            "method": paired.method + (note if left_out else ""),
        }
    )


def decide_difference(check: Check, p_worse: float, p_better: float, alpha: float) -> Check:
    """Decide a paired difference of scores, as :func:`pipeline.stats.decision.decide` does.

    Args:
        check: A check with estimate, interval, margin and the number of questions.
        p_worse: Holm-adjusted p-value for "worse".
        p_better: Holm-adjusted p-value for "better".
        alpha: One-sided error rate.
    """
    assert check.estimate is not None
    assert check.interval is not None
    assert check.margin is not None
    assert check.n is not None
    change = decision.Change.of(
        check.estimate,
        check.interval,
        p_worse=p_worse,
        p_better=p_better,
        higher_is_better=METRICS[check.metric].better == "higher",
    )
    enough = decision.asks_enough(check.n, check.margin, alpha)
    state = decision.decide(change, loss=check.margin, better_by=0.0, level=alpha, enough=enough)
    if check.against == "other layouts":
        verdict, reason = _layouts_alarm(check, change, state, p_worse)
    else:
        verdict = _VERDICTS[state]
        reason = _difference_reason(check, change, state, alpha)
    return check.model_copy(
        update={"verdict": verdict, "reason": reason, "p_worse_adjusted": p_worse}
    )


_VERDICTS: dict[decision.State, Verdict] = {
    "pass": Verdict.PASS,
    "improved": Verdict.IMPROVED,
    "regressed": Verdict.REGRESSED,
    "undecided": Verdict.INCONCLUSIVE,
}


def _difference_reason(
    check: Check, change: decision.Change, state: decision.State, alpha: float
) -> str:
    assert check.estimate is not None
    assert check.margin is not None
    assert check.n is not None
    seen = as_points(check.estimate)
    margin = as_points(check.margin, signed=False)
    if state == "regressed":
        known = "surely" if change.upper < -check.margin else "as far as seen"
        p = as_p(float(change.p_worse))
        return f"worse: {seen} ({known} more than {margin}), p {p} after Holm"
    if state == "improved":
        return f"better: {seen}, p {as_p(float(change.p_better))} after Holm"
    if state == "pass":
        though = ", though it is worse" if change.upper < 0 else ""
        return f"a loss of {margin} is excluded{though}"
    if decision.excludes(change, check.margin):
        return _too_few(check.n, check.margin, alpha)
    return _undecided(check, change, alpha)


def _layouts_alarm(
    check: Check, change: decision.Change, state: decision.State, p_worse: float
) -> tuple[Verdict, str]:
    assert check.estimate is not None
    assert check.margin is not None
    margin = as_points(check.margin, signed=False)
    if state == "regressed":
        return Verdict.REGRESSED, (
            f"the reference itself scores {as_points(check.estimate)} against its best other "
            f"layout, p {as_p(p_worse)} after Holm: nothing can be judged against it here"
        )
    if decision.excludes(change, check.margin):
        return Verdict.PASS, f"a loss of {margin} against its best other layout is excluded"
    return Verdict.PASS, "no alarm; whether layouts score alike is not what the gate asks"


def _too_few(questions: int, margin: float, alpha: float) -> str:
    unseen = decision.unseen_collapse(questions, margin)
    return (
        f"too few questions: {questions} miss a loss of {as_points(margin, signed=False)} that is "
        f"confined to a few questions {unseen:.1%} of the time; "
        f"ask at least {decision.questions_to_pass(margin, alpha)}"
    )


def _undecided(check: Check, change: decision.Change, alpha: float) -> str:
    assert check.n is not None
    assert check.estimate is not None
    assert check.margin is not None
    margin = as_points(check.margin, signed=False)
    half_width = float(change.gain - change.lower)
    needed = questions_needed(check.n, half_width, check.margin, alpha, _POWER)
    seen = f"a loss of {margin} is neither excluded nor established with {check.n} questions"
    if change.upper < 0 and decision.is_beyond(change, check.margin):
        seen = f"looks worse, but p {as_p(float(change.p_worse))} after Holm does not establish it"
    elif change.upper < 0:
        seen = f"worse: {as_points(check.estimate)}, and a loss of {margin} is not excluded"
    return (
        f"{seen}; about {needed} questions, or more repeats of each, would pass an equal arm "
        f"{_POWER:.0%} of the time"
    )


def against_floor(
    job: str, metric: str, arm: Evidence, gate: Gate, alpha: float, *, checks: int
) -> Check:
    """The level against the gate's floor.

    Args:
        job: The job.
        metric: A fraction.
        arm: Any arm's evidence, the reference's too.
        gate: Its floor is set.
        alpha: One-sided error rate.
        checks: How many checks against a floor the plan has: an alarm is raised at alpha divided by
            that (Bonferroni), so that all of them together keep to alpha.
    """
    assert gate.floor is not None
    check = Check(
        job=job, metric=metric, against="floor", gated=True, measure="level", floor=gate.floor
    )
    if gap := arm.gap_of(metric):
        return missing(check, gap)
    means = list(arm.question_means(metric).values())
    value = sum(means) / len(means)
    interval = mean_score(means, alpha)
    strict = mean_score(means, alpha / checks)
    verdict, reason = _floor_verdict(interval, strict, gate.floor, METRICS[metric].better)
    return check.model_copy(
        update={
            "value": value,
            "estimate": value,
            "interval": tuple(interval),
            "n": len(means),
            "method": _FLOOR_METHOD,
            "verdict": verdict,
            "reason": reason,
        }
    )


def _floor_verdict(
    interval: Interval, strict: Interval, floor: float, better: str
) -> tuple[Verdict, str]:
    # A floor of something that is better when lower is a ceiling.
    name = "floor" if better == "higher" else "ceiling"
    state = decision.level_state(interval, strict, floor, higher_is_better=better == "higher")
    if state == "regressed":
        return Verdict.REGRESSED, f"beyond the {name} {floor:.1%} with error rate alpha"
    if state == "pass":
        return Verdict.PASS, f"shown to keep the {name} {floor:.1%}"
    return Verdict.INCONCLUSIVE, f"the interval holds the {name} {floor:.1%}: more questions"


def against_layouts(
    job: str, metric: str, own: Evidence, others: Mapping[str, Evidence], gate: Gate, alpha: float
) -> Check | None:
    """The reference arm against its own best other layout: a baseline can be broken on one.

    Several others are looked at and the best is taken, so the p-value is multiplied by their
    number (Bonferroni). None where there is nothing to hold it against.
    """
    if own.gap_of(metric):
        return None
    usable = {
        name: side.question_means(metric)
        for name, side in others.items()
        if not side.gap_of(metric) and not incomparable(own, side, metric)
    }
    if not usable:
        return None
    best = max(usable, key=lambda name: sum(usable[name].values()) / len(usable[name]))
    check = Check(
        job=job,
        metric=metric,
        against="other layouts",
        gated=True,
        measure="difference",
        margin=gate.margin,
    )
    made = _compared(check, own.question_means(metric), usable[best], alpha)
    if made.p_worse is None:
        return None
    selected = min(1.0, made.p_worse * len(usable))
    return made.model_copy(
        update={"p_worse": selected, "p_better": None, "method": f"against {best}; {made.method}"}
    )
