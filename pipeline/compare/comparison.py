"""The verdict of two sides that were asked the same; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evals.accuracy.grades import scores
from pipeline.compare.pairing import Pairing, SettingDiff, pair, settings_diff
from pipeline.compare.sides import Side
from pipeline.gate.model import Verdict
from pipeline.gate.text import as_p, as_points
from pipeline.stats import PairedDifference, paired_difference, state_of

__all__ = ["Comparison", "Rules", "judge_sides"]

# These change how fast answers come, and how batches form, not what is asked.
_HARMLESS = frozenset({"concurrency"})
_VERDICTS = {
    "pass": Verdict.PASS,
    "regressed": Verdict.REGRESSED,
    "undecided": Verdict.INCONCLUSIVE,
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How two sides are judged.

    Attributes:
        margin: Largest acceptable loss of score, a fraction; None: that of the reference run's own
            gate.
        alpha: One-sided error rate.
        shared_only: Judge the questions that both were asked, where one was asked others, too.
        any_settings: Judge although settings of asking or sampling differ.
    """

    margin: float | None
    alpha: float
    shared_only: bool = False
    any_settings: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two sides show.

    Attributes:
        verdict: Of the score; missing where nothing can be judged.
        reason: One sentence.
        margin: What was judged against; None: there is none.
        difference: Arm minus reference; None where nothing was compared.
        pairing: Question by question; None likewise.
    """

    verdict: Verdict
    reason: str
    margin: float | None
    difference: PairedDifference | None
    pairing: Pairing | None


def judge_sides(reference: Side, arm: Side, rules: Rules, *, alarms: int = 1) -> Comparison:
    """Judge one pair.

    Args:
        reference: What is held to be right.
        arm: What is judged.
        rules: How.
        alarms: Comparisons that share alpha (Bonferroni).
    """
    margin = reference.margins.get("score") if rules.margin is None else rules.margin
    if problem := reference.problem or arm.problem or _other_questions(reference, arm, rules):
        return _missing(problem, margin)
    reference, arm = _within(reference, arm), _within(arm, reference)
    settings = settings_diff(*_known(reference.settings, arm.settings))
    made = pair(
        reference.answers,
        arm.answers,
        alpha=rules.alpha,
        job=arm.job,
        layout=arm.layout or reference.layout,
        names=(reference.name, arm.name),
    )
    if made is None:
        return _missing("no question has a usable answer on both sides", margin)
    made = made.model_copy(update={"settings": settings})
    seen = _difference(reference, arm, rules.alpha)
    verdict, reason = _verdict(seen, margin, settings, rules, alarms)
    if reference.stopped or arm.stopped:
        reason += "; asked in stages and stopped early: here judged in one look"
    return Comparison(verdict=verdict, reason=reason, margin=margin, difference=seen, pairing=made)


def _missing(reason: str, margin: float | None) -> Comparison:
    return Comparison(
        verdict=Verdict.MISSING, reason=reason, margin=margin, difference=None, pairing=None
    )


def _known(
    reference: Mapping[str, object], arm: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """The settings that both sides tell; what one does not tell is no difference."""
    names = reference.keys() & arm.keys()
    return {n: reference[n] for n in names}, {n: arm[n] for n in names}


def _within(side: Side, other: Side) -> Side:
    """A side on the questions that the other one was asked before it was stopped."""
    if not other.stopped:
        return side
    asked = {answer.id for answer in other.answers}
    return replace(side, answers=[answer for answer in side.answers if answer.id in asked])


def _other_questions(reference: Side, arm: Side, rules: Rules) -> str:
    asked = {one.id: (one.question, one.expected) for one in reference.answers}
    other = {one.id: (one.question, one.expected) for one in arm.answers}
    for key in sorted(asked.keys() & other.keys()):
        if asked[key] != other[key]:
            return f"question {key} is another one on each side, or expects another answer"
    fewer = (reference.stopped and asked.keys() < other.keys()) or (
        arm.stopped and other.keys() < asked.keys()
    )
    only = len(asked.keys() ^ other.keys())
    if only and not fewer and not rules.shared_only:
        return (
            f"{only} questions were asked on one side only; --shared compares the "
            f"{len(asked.keys() & other.keys())} that both were asked"
        )
    return ""


def _difference(reference: Side, arm: Side, alpha: float) -> PairedDifference:
    """Over the questions that have a usable answer on both sides; there is one."""
    left, right = scores(reference.answers), scores(arm.answers)
    shared = left.keys() & right.keys()
    return paired_difference(
        {key: left[key] for key in shared}, {key: right[key] for key in shared}, alpha
    )


def _verdict(
    seen: PairedDifference,
    margin: float | None,
    settings: Sequence[SettingDiff],
    rules: Rules,
    alarms: int,
) -> tuple[Verdict, str]:
    found = f"{as_points(seen.difference)}, p {as_p(seen.p_lower)} for worse"
    differ = [one.name for one in settings if one.name not in _HARMLESS]
    if differ and not rules.any_settings:
        return Verdict.MISSING, (
            f"not comparable: {', '.join(differ)} differ, so that this may be what makes {found}; "
            "--any-settings judges all the same"
        )
    if margin is None:
        return Verdict.MISSING, f"{found}; no margin was given (--margin 0.02), nothing is judged"
    state = state_of(seen, margin, rules.alpha / alarms, alpha=rules.alpha)
    limit = as_points(margin, signed=False)
    told = {
        "pass": f"a loss of {limit} is excluded",
        "regressed": "worse",
        "undecided": f"a loss of {limit} is neither excluded nor established",
    }[state]
    return _VERDICTS[state], f"{told}: {found}"
