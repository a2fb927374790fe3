"""The verdict of two sides that were asked the same; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evals.accuracy.grades import scores
from evals.accuracy.marking.marker import marked_anew
from evals.job import Answer
from pipeline.compare.content import aligned, own_ids, prompt_diff
from pipeline.compare.pairing import Pairing, SettingDiff, pair, settings_diff
from pipeline.compare.sides import SERVEGATE, Side
from pipeline.gate.model import Verdict
from pipeline.gate.text import as_p, as_points
from pipeline.stats import PairedDifference, paired_difference, state_of

__all__ = ["Comparison", "Rules", "judge_sides", "told_diffs"]

# These change how fast answers come, and how batches form, not what is asked.
_HARMLESS = frozenset({"concurrency"})
_VERDICTS = {
    "pass": Verdict.PASS,
    "regressed": Verdict.REGRESSED,
    "undecided": Verdict.INCONCLUSIVE,
}
_LONGEST_VALUE = 60


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How two sides are judged.

    Attributes:
        margin: Largest acceptable loss of score, or worsening of a benchmark's metric, a fraction;
            None: that of the reference run's own gate.
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
        notes: What a reader must know of how the sides were read and marked.
    """

    verdict: Verdict
    reason: str
    margin: float | None
    difference: PairedDifference | None
    pairing: Pairing | None
    notes: tuple[str, ...] = ()


def judge_sides(reference: Side, arm: Side, rules: Rules, *, alarms: int = 1) -> Comparison:
    """Judge one pair.

    Args:
        reference: What is held to be right.
        arm: What is judged.
        rules: How.
        alarms: Comparisons that share alpha (Bonferroni).
    """
    margin = reference.margins.get("score") if rules.margin is None else rules.margin
    notes = tuple(dict.fromkeys([*reference.notes, *arm.notes]))
    if problem := reference.problem or arm.problem:
        return _missing(problem, margin, notes)
    settings = settings_diff(reference.settings, arm.settings)
    if not own_ids(reference, arm):
        placed = aligned(reference, arm)
        arm = placed.side
        settings += _content_diffs(reference, arm, placed.reordered)
    if problem := _other_questions(reference, arm, rules):
        return _missing(problem, margin, notes)
    reference, arm = _within(reference, arm), _within(arm, reference)
    markers = [one for one in settings if one.name == "grader"]
    if reference.tool != arm.tool or markers or not (reference.marked and arm.marked):
        reference, arm, problem = _marked_anew(reference, arm, margin)
        tools = " and ".join(dict.fromkeys((reference.tool, arm.tool)))
        notes += (f"{tools}: all answers are marked anew by one marker",)
        settings = [one for one in settings if one not in markers]
        if problem:
            return _missing(problem, margin, notes)
    made = pair(
        reference.answers,
        arm.answers,
        alpha=rules.alpha,
        job=arm.job,
        layout=arm.layout or reference.layout,
        names=(reference.name, arm.name),
    )
    if made is None:
        return _missing("no question has a usable answer on both sides", margin, notes)
    made = made.model_copy(update={"settings": settings})
    seen = _difference(reference, arm, rules.alpha)
    verdict, reason = _verdict(reference, arm, seen, margin, settings, rules, alarms)
    if reference.stopped or arm.stopped:
        reason += "; asked in stages and stopped early: here judged in one look"
    return Comparison(
        verdict=verdict, reason=reason, margin=margin, difference=seen, pairing=made, notes=notes
    )


def told_diffs(settings: Sequence[SettingDiff]) -> str:
    """The settings that differ, each with both values, as one clause."""
    return ", ".join(
        f"{one.name} differs ({_short(one.reference)} against {_short(one.arm)})"
        for one in settings
    )


def _short(value: str) -> str:
    if value == "?":
        return "not told"
    line = " ".join(value.split())
    return line if len(line) <= _LONGEST_VALUE else f"{line[: _LONGEST_VALUE - 1]}…"


def _missing(reason: str, margin: float | None, notes: tuple[str, ...]) -> Comparison:
    return Comparison(
        verdict=Verdict.MISSING,
        reason=reason,
        margin=margin,
        difference=None,
        pairing=None,
        notes=notes,
    )


def _content_diffs(reference: Side, arm: Side, reordered: int) -> list[SettingDiff]:
    found = [] if (prompts := prompt_diff(reference, arm)) is None else [prompts]
    if reordered:
        found.append(
            SettingDiff(
                name="order of choices",
                reference="its own",
                arm=f"another one in {reordered} questions",
            )
        )
    repeats = _repeats(reference), _repeats(arm)
    if repeats[0] != repeats[1] and "repeats" not in {*reference.settings, *arm.settings}:
        found.append(SettingDiff(name="repeats", reference=repeats[0], arm=repeats[1]))
    return found


def _repeats(side: Side) -> str:
    counts: dict[str, int] = {}
    for answer in side.answers:
        counts[answer.id] = counts.get(answer.id, 0) + 1
    least, most = min(counts.values(), default=0), max(counts.values(), default=0)
    return str(most) if least == most else f"{least} to {most}"


def _within(side: Side, other: Side) -> Side:
    """A side on the questions that the other one was asked before it was stopped."""
    if not other.stopped:
        return side
    asked = {answer.id for answer in other.answers}
    return replace(side, answers=[answer for answer in side.answers if answer.id in asked])


def _other_questions(reference: Side, arm: Side, rules: Rules) -> str:
    asked = {one.id: one for one in reference.answers}
    other = {one.id: one for one in arm.answers}
    exact = own_ids(reference, arm)
    for key in sorted(asked.keys() & other.keys()):
        expected = _expected(reference, asked[key], exact=exact)
        if expected != _expected(arm, other[key], exact=exact):
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
    failed = {
        side.name: sum(answer.mark == "error" for answer in side.answers)
        for side in (reference, arm)
        if side.tool != SERVEGATE
    }
    if any(failed.values()) and not rules.shared_only:
        return (
            f"{max(failed.values())} requests failed or gave no usable answer; --shared compares "
            "the others"
        )
    return ""


def _expected(side: Side, answer: Answer, *, exact: bool) -> str:
    """The right answer as it is compared: the text behind a letter, a number by its value."""
    if exact:
        return f"{answer.question}\0{answer.expected}"
    text = answer.expected.strip().strip("()$").replace(",", "")
    choices = side.questions[answer.id].choices
    if len(text) == 1 and text.isalpha() and ord(text.upper()) - ord("A") < len(choices):
        return choices[ord(text.upper()) - ord("A")]
    try:
        return repr(float(text))
    except ValueError:
        return text.casefold()


def _marked_anew(reference: Side, arm: Side, margin: float | None) -> tuple[Side, Side, str]:
    """Both sides marked by one marker, and why that says nothing; "" if it does."""
    for side in (reference, arm):
        if not side.texts:
            return (
                reference,
                arm,
                (
                    f"{side.name}: {side.tool} kept no texts of its answers, so that they cannot "
                    "be marked as the other side's are"
                ),
            )
    sides = []
    for side in (reference, arm):
        try:
            sides.append(replace(side, answers=marked_anew(side.answers)))
        except ValueError as error:
            return reference, arm, f"{side.name}: {error}, so that it cannot be marked anew"
    for own, side in zip((reference, arm), sides, strict=True):
        if problem := _unread(own, side, margin):
            return sides[0], sides[1], problem
    return sides[0], sides[1], ""


def _unread(own: Side, side: Side, margin: float | None) -> str:
    """Whether the marker does not read the form in which a side's answers are written."""
    if all(answer.extracted is None for answer in side.answers):
        return f"{side.name}: no answer could be read from the texts of {side.tool}"
    lost = sum(
        before.mark == "correct" and after.mark == "no_answer"
        for before, after in zip(own.answers, side.answers, strict=True)
    )
    share = lost / len(side.answers)
    if own.marked and margin is not None and share > margin / 2:
        return (
            f"{side.name}: {side.tool} marks {lost} of {len(side.answers)} answers right from "
            "which no answer could be read here: they are written in a form of their own"
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
    reference: Side,
    arm: Side,
    seen: PairedDifference,
    margin: float | None,
    settings: Sequence[SettingDiff],
    rules: Rules,
    alarms: int,
) -> tuple[Verdict, str]:
    found = f"{as_points(seen.difference)}, p {as_p(seen.p_lower)} for worse"
    differ = [one for one in settings if one.name not in _HARMLESS]
    if differ and not rules.any_settings:
        return Verdict.MISSING, (
            f"not comparable: {told_diffs(differ)}, so that this may be what makes {found}; "
            "--any-settings judges all the same"
        )
    although = f"; judged although {told_diffs(differ)}" if differ else ""
    if not reference.settings and not arm.settings:
        although = "; neither side tells how it was asked"
    if margin is None:
        return Verdict.MISSING, (
            f"{found}; no margin was given (--margin 0.02), nothing is judged{although}"
        )
    left = scores(reference.answers)
    score = sum(left.values()) / len(left)
    if score < margin:
        return Verdict.MISSING, (
            f"{reference.name} scores {as_points(score, signed=False)}: a loss of "
            f"{as_points(margin, signed=False)} could not be seen{although}"
        )
    state = state_of(seen, margin, rules.alpha / alarms, alpha=rules.alpha)
    limit = as_points(margin, signed=False)
    told = {
        "pass": f"a loss of {limit} is excluded",
        "regressed": "worse",
        "undecided": f"a loss of {limit} is neither excluded nor established",
    }[state]
    return _VERDICTS[state], f"{told}: {found}{although}"
