"""Asking in stages: stop as soon as the verdict is decided, at the error rates of asking them all.

A group-sequential design spends its error rate over the stages (K. K. G. Lan and D. L. DeMets,
Discrete sequential boundaries for clinical trials, Biometrika 70 (1983) 659-663). Each stage then
has a nominal level, and is judged at that level by the same functions as a whole run: Tango's score
interval and exact tests for few flips, never the normal approximation alone. Only the dependence
between the stages is taken from normal theory; ``benchmarks/early_stopping.py`` holds what comes of
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.stats.paired import PairedDifference, paired_difference
from pipeline.stats.rule import state_of
from pipeline.stats.spending import Spending, nominal_levels

__all__ = ["Decision", "Design", "Outcome", "decide", "make_design", "outcome_of"]

Outcome = Literal["continue", "pass", "regressed", "undecided"]

# Of pocock, linear and this one, with which an equal arm is asked the fewest questions for the same
# error rates (benchmarks/early_stopping.py has its figures).
PASSING: Spending = "power-1.5"
# An alarm after a tenth of the questions must be beyond doubt, and a broken arm is.
ALARMING: Spending = "cubic"


@dataclass(frozen=True, kw_only=True)
class Design:
    """When to look, and how strictly.

    Attributes:
        sizes: Questions asked until the end of each stage, rising; the last is all of them.
        margin: Largest acceptable loss, a fraction.
        pass_levels: Nominal one-sided error rate of each stage's bound on the loss; 0 where no pass
            is possible yet.
        harm_levels: Nominal one-sided error rate of each stage's alarm.
    """

    sizes: tuple[int, ...]
    margin: float
    pass_levels: tuple[float, ...]
    harm_levels: tuple[float, ...]

    def level(self, stage: int) -> float:
        """The error rate at which a stage's interval is taken.

        Where no pass is possible yet, that of the first stage at which one is.
        """
        return next(level for level in self.pass_levels[stage:] if level)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one stage allows to say.

    Attributes:
        outcome: ``continue`` asks the next stage; ``undecided`` is the end without a verdict.
        stage: From 0.
        questions: Compared so far.
        of: Questions of the whole design.
        difference: At this stage's level. Over the stages that can pass these are repeated
            confidence intervals, which hold at whichever one stops (C. Jennison and B. W. Turnbull,
            J. R. Statist. Soc. B 51 (1989) 305-361).
    """

    outcome: Outcome
    stage: int
    questions: int
    of: int
    difference: PairedDifference


def make_design(
    questions: int,
    margin: float,
    alpha: float,
    *,
    stages: int = 10,
    alarms: int = 1,
    passing: Spending = PASSING,
    harm: Spending = ALARMING,
) -> Design:
    """Stages of equal size; the first is never more than its share.

    No stage but the last passes an arm before so many questions were asked that a loss of the
    margin that is whole on a few of them would have met one with a chance of 1 - alpha. Nothing in
    the answers tells of such questions while none of them has been asked.

    Args:
        questions: Of the whole job, at least 1; fewer stages are made of fewer questions.
        margin: Largest acceptable loss, a fraction in (0, 1).
        alpha: One-sided error rate, in (0, 0.5), of a false pass and, for all ``alarms`` together,
            of a false alarm.
        stages: At least 1; one stage is the fixed design.
        alarms: Comparisons that can raise an alarm (arms, layouts, benchmarks); each may use alpha
            divided by that.
        passing: How the error rate of a pass is spent.
        harm: How that of an alarm is spent.

    Raises:
        ValueError: A number is out of its range.
    """
    if min(questions, stages, alarms) < 1 or not 0 < alpha < 0.5 or not 0 < margin < 1:
        raise ValueError(
            "a design needs questions, stages and alarms of at least 1, a margin in (0, 1) and "
            f"alpha in (0, 0.5); got {questions}, {stages}, {alarms}, {margin} and {alpha}"
        )
    count = min(stages, questions)
    sizes = tuple(questions * (stage + 1) // count for stage in range(count))
    shares = [size / questions for size in sizes]
    blind = sum((1 - margin) ** size > alpha for size in sizes[:-1])
    return Design(
        sizes=sizes,
        margin=margin,
        pass_levels=(0.0,) * blind + nominal_levels(shares[blind:], alpha, passing),
        harm_levels=nominal_levels(shares, alpha / alarms, harm),
    )


def decide(
    design: Design,
    stage: int,
    reference: Mapping[str, float],
    arm: Mapping[str, float],
    *,
    higher_is_better: bool = True,
) -> Decision:
    """Judge what was answered until the end of a stage.

    Pass: the bound on the harmful side, at the stage's level, excludes a loss of the margin.
    Regressed: that loss is not excluded, and the arm is worse at the level of the stage's alarm.
    The same rules as at the end of a job that is not staged, where they are called at alpha.

    Args:
        design: The design; made before anything was asked.
        stage: From 0.
        reference: Mean in [0, 1] of every question asked so far, by id.
        arm: The same ids.
        higher_is_better: False for a rate of something bad.

    Raises:
        ValueError: No such stage, more questions than it has, or the ids differ.
    """
    if not 0 <= stage < len(design.sizes):
        raise ValueError(f"the design has stages 0 to {len(design.sizes) - 1}, not {stage}")
    if len(reference) > design.sizes[stage]:
        raise ValueError(
            f"stage {stage} ends with {design.sizes[stage]} questions, not {len(reference)}; judge "
            "only what its order asks first"
        )
    seen = paired_difference(reference, arm, design.level(stage))
    return Decision(
        outcome=outcome_of(design, stage, seen, higher_is_better=higher_is_better),
        stage=stage,
        questions=len(reference),
        of=design.sizes[-1],
        difference=seen,
    )


def outcome_of(
    design: Design, stage: int, seen: PairedDifference, *, higher_is_better: bool = True
) -> Outcome:
    """The rule of :func:`decide` for a difference that was taken at ``design.level(stage)``."""
    alarm = design.harm_levels[stage]
    state = state_of(seen, design.margin, alarm, higher_is_better=higher_is_better)
    passed_blind = state == "pass" and not design.pass_levels[stage]
    if passed_blind or (state == "undecided" and stage + 1 < len(design.sizes)):
        return "continue"
    return state
