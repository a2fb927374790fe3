"""Questions asked in stages: when the verdict is decided, and what may be said of it then; pure."""

from __future__ import annotations

from collections.abc import Mapping

from evals.metrics import METRICS
from pipeline.experiment.comparisons import accuracy_alarms
from pipeline.experiment.gates import Gate
from pipeline.gate.model import Check, Verdict
from pipeline.gate.text import as_p, as_points
from pipeline.plan.model import Plan
from pipeline.stats import Decision, Design, decide, decision, make_design, mean_score

__all__ = [
    "asked_in_stages",
    "decided_check",
    "decisions",
    "design_of",
    "is_over",
    "keeps_floors",
    "why",
]

Means = Mapping[str, float]
"""Mean of a fraction by question id."""

_WORDS = {"pass": Verdict.PASS, "regressed": Verdict.REGRESSED}


def asked_in_stages(plan: Plan, job: str) -> bool:
    """Whether a job's questions are asked stage by stage, until its gates are decided."""
    return int(plan.jobs[job].get("stages", 1)) > 1


def design_of(plan: Plan, job: str, metric: str, questions: int) -> Design:
    """The stages of one gate, fixed by the plan alone.

    Args:
        plan: The plan.
        job: An accuracy job in stages, with a gate on the metric.
        metric: A fraction.
        questions: Of the whole job.
    """
    alarms = accuracy_alarms(plan.gates, layouts=len(plan.layouts), arms=len(plan.arms))
    margin = plan.gates[job][metric].margin
    stages = plan.jobs[job]["stages"]
    return make_design(questions, margin, plan.alpha, stages=stages, alarms=alarms)


def decisions(
    designs: Mapping[str, Design],
    stage: int,
    reference: Mapping[str, Means],
    arm: Mapping[str, Means],
) -> dict[str, Decision]:
    """What a stage allows to say of each gate.

    Args:
        designs: By metric.
        stage: From 0.
        reference: Means of each metric over the questions until the end of the stage.
        arm: The same, of the same questions.
    """
    return {
        metric: decide(
            design,
            stage,
            reference[metric],
            arm[metric],
            higher_is_better=METRICS[metric].better == "higher",
        )
        for metric, design in designs.items()
    }


def is_over(made: Mapping[str, Decision]) -> bool:
    """Whether more questions would change nothing: one gate has fired, or all are decided."""
    outcomes = [decision.outcome for decision in made.values()]
    return "regressed" in outcomes or "continue" not in outcomes


def keeps_floors(
    made: Mapping[str, Decision],
    gates: Mapping[str, Gate],
    designs: Mapping[str, Design],
    stage: int,
    arm: Mapping[str, Means],
) -> bool:
    """Whether no floor still needs questions: an arm that passes must be shown to keep its floors.

    Args:
        made: What the stage allows to say; an arm that has regressed needs no more.
        gates: By metric.
        designs: By metric.
        stage: From 0.
        arm: Its means of each metric over the questions so far.
    """
    if any(decision.outcome == "regressed" for decision in made.values()):
        return True
    for metric, design in designs.items():
        floor = gates[metric].floor
        if floor is None:
            continue
        seen = mean_score(list(arm[metric].values()), design.level(stage))
        higher_is_better = METRICS[metric].better == "higher"
        if decision.level_state(seen, seen, floor, higher_is_better=higher_is_better) != "pass":
            return False
    return True


def why(made: Mapping[str, Decision]) -> str:
    """One sentence for the record of a job that was stopped."""
    first = next(iter(made.values()))
    found = "; ".join(
        f"{METRICS[metric].label} {decision.outcome} at {as_points(decision.difference.difference)}"
        for metric, decision in made.items()
        if decision.outcome != "continue"
    )
    return f"decided after {first.questions} of {first.of} questions: {found}"


def decided_check(check: Check, decision: Decision, design: Design) -> Check:
    """A check with the verdict of the stage at which its job ended.

    Args:
        check: With the gate's margin.
        decision: Of that stage.
        design: Its stages.
    """
    seen, stage = decision.difference, decision.stage
    higher_is_better = METRICS[check.metric].better == "higher"
    p_worse = seen.p_lower if higher_is_better else seen.p_higher
    verdict = _WORDS.get(decision.outcome, Verdict.INCONCLUSIVE)
    asked = (
        f"after {decision.questions} of {decision.of} questions "
        f"(stage {stage + 1} of {len(design.sizes)})"
    )
    return check.model_copy(
        update={
            "estimate": seen.difference,
            "interval": tuple(seen.interval),
            "p_worse": p_worse,
            "p_better": seen.p_higher if higher_is_better else seen.p_lower,
            "n": seen.n,
            "higher": seen.higher,
            "lower": seen.lower,
            "method": f"{seen.method}, at this stage's error rate of {design.level(stage):.2g}",
            "verdict": verdict,
            "reason": f"{_reason(verdict, check, decision, design, p_worse)}, {asked}",
        }
    )


def _reason(
    verdict: Verdict, check: Check, decision: Decision, design: Design, p_worse: float
) -> str:
    assert check.margin is not None
    margin = as_points(check.margin, signed=False)
    seen = as_points(decision.difference.difference)
    level = design.harm_levels[decision.stage]
    if verdict is Verdict.PASS:
        return f"a loss of {margin} is excluded"
    if verdict is Verdict.REGRESSED:
        return f"worse: {seen}, p {as_p(p_worse)} below {level:.2g}, what this stage may use"
    return f"a loss of {margin} is neither excluded nor established ({seen})"
