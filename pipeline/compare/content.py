"""Which sides belong together, and which of their questions by what they say; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evals.accuracy.answer_set import QuestionText
from pipeline.compare.pairing import SettingDiff
from pipeline.compare.sides import SERVEGATE, Side

__all__ = ["Aligned", "NothingToCompare", "aligned", "matched", "own_ids", "prompt_diff"]

# Whose question ids are the same in every run.
_STABLE = frozenset({SERVEGATE, "sgl-eval"})
# A shorter question could stand in another one by chance.
_LEAST_CONTAINED = 20
# Pairs of texts that are tried for one standing in the other: a few seconds.
_MOST_TRIED = 4_000_000


class NothingToCompare(ValueError):
    """No two sides belong together; the message says what each folder has."""


def matched(
    references: Sequence[Side],
    others: Sequence[Side],
    *,
    reference_arm: str | None,
    arm: str | None,
) -> list[tuple[Side, Side]]:
    """Pairs of the same benchmark, layout and arm; a folder without layouts and arms fits all.

    Args:
        references: Of the first folder.
        others: Of the second.
        reference_arm: Only this arm of the first; with it, or with `arm`, names need not be alike.
        arm: Only this arm of the second.

    Raises:
        NothingToCompare: There is no such pair.
    """
    chosen = reference_arm is not None or arm is not None
    left = [side for side in references if reference_arm in (None, side.arm)]
    right = [side for side in others if arm in (None, side.arm)]
    pairs = [
        (one, other)
        for one in left
        for other in right
        if _asked_alike(one, other)
        and (one.job == other.job or not (one.arm and other.arm))
        and _alike(one.layout, other.layout)
        and (chosen or _alike(one.arm, other.arm))
    ]
    if not pairs:
        raise NothingToCompare(
            "no two sides ask the same benchmark on the same layout"
            f"{'' if chosen else ' with the same arm (--reference-arm and --arm name others)'}; "
            f"the first has {_told(left)}, the second {_told(right)}"
        )
    return pairs


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The other side with the question ids of the reference.

    Attributes:
        side: With its questions renamed; those without a partner keep a name of their own.
        reordered: Questions whose choices stand in another order.
    """

    side: Side
    reordered: int


def own_ids(one: Side, other: Side) -> bool:
    """Whether the sides' own question ids pair them."""
    return one.tool == other.tool and one.tool in _STABLE


def aligned(reference: Side, arm: Side) -> Aligned:
    """Rename the arm's questions as the reference's, by their texts.

    A text that stands several times on a side is paired in the order of its occurrence. A prompt
    that holds the other side's question, and that of no other, is the same question.
    """
    by_key: dict[str, list[str]] = defaultdict(list)
    for name, text in reference.questions.items():
        by_key[text.key].append(name)
    names: dict[str, str] = {}
    for own, text in arm.questions.items():
        if by_key.get(text.key):
            names[own] = by_key[text.key].pop(0)
    left = {n: t for n, t in reference.questions.items() if n not in set(names.values())}
    right = {n: t for n, t in arm.questions.items() if n not in names}
    names |= _contained(left, right)
    reordered = sum(
        reference.questions[name].choices != arm.questions[own].choices
        and sorted(reference.questions[name].choices) == sorted(arm.questions[own].choices)
        for own, name in names.items()
    )
    answers = [
        answer.model_copy(update={"id": names.get(answer.id, f"other side: {answer.id}")})
        for answer in arm.answers
    ]
    prompts = {names[own]: digest for own, digest in arm.prompts.items() if own in names}
    return Aligned(side=replace(arm, answers=answers, prompts=prompts), reordered=reordered)


def prompt_diff(reference: Side, arm: Side) -> SettingDiff | None:
    """How the prompts of questions that both were asked differ; None where they do not."""
    if not reference.prompts and not arm.prompts:
        return None
    if not reference.prompts or not arm.prompts:
        kept = "kept with each answer"
        return SettingDiff(
            name="prompt",
            reference=kept if reference.prompts else "?",
            arm=kept if arm.prompts else "?",
        )
    shared = sorted(reference.prompts.keys() & arm.prompts.keys())
    differ = [name for name in shared if reference.prompts[name] != arm.prompts[name]]
    if not differ:
        return None
    count = f"on {len(differ)} of {len(shared)} questions, the first"
    return SettingDiff(
        name="prompt",
        reference=f"sha256 {reference.prompts[differ[0]]} ({count})",
        arm=f"sha256 {arm.prompts[differ[0]]}",
    )


def _asked_alike(one: Side, other: Side) -> bool:
    """The same benchmark; two evaluators may call it differently, so there questions count.

    Where one evaluator marked its answers in several ways, each way is compared with itself; with
    another evaluator's answers, which are marked anew, only once.
    """
    if one.tool == other.tool and one.benchmark and other.benchmark:
        return one.benchmark == other.benchmark and one.marking == other.marking
    if not (one.first_marking and other.first_marking):
        return False
    return one.benchmark == other.benchmark or _share_questions(one, other)


def _alike(one: str, other: str) -> bool:
    return not one or not other or one == other


def _told(sides: Sequence[Side]) -> str:
    if not sides:
        return "no such answers"
    return ", ".join(" ".join(filter(None, (s.job, s.arm, s.layout))) for s in sides)


def _share_questions(one: Side, other: Side) -> bool:
    """Whether any question was asked on both sides."""
    keys = {text.key for text in one.questions.values()}
    return any(text.key in keys for text in other.questions.values()) or bool(
        _contained(one.questions, other.questions)
    )


def _contained(
    references: Mapping[str, QuestionText], others: Mapping[str, QuestionText]
) -> dict[str, str]:
    """Name of the reference's question by the other's, where one text holds exactly one other."""
    if len(references) * len(others) > _MOST_TRIED:
        return {}
    holds: dict[str, list[str]] = {
        own: [name for name, asked in references.items() if _holds(text, asked)]
        for own, text in others.items()
    }
    holders: dict[str, int] = defaultdict(int)
    for names in holds.values():
        for name in names:
            holders[name] += 1
    return {
        own: names[0] for own, names in holds.items() if len(names) == 1 and holders[names[0]] == 1
    }


def _holds(one: QuestionText, other: QuestionText) -> bool:
    short, long = sorted((one.stem, other.stem), key=len)
    if len(short) < _LEAST_CONTAINED or short not in long:
        return False
    return not (one.choices and other.choices) or sorted(one.choices) == sorted(other.choices)
