"""Two sides' answers to the same questions: what differs, and what a person reads of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from evals.job import Mark

__all__ = ["Flip", "LevelScore", "Pairing", "SettingDiff", "Shown"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(_Frozen):
    """One sample of one side."""

    mark: Mark
    extracted: str | None
    tokens: int | None
    response: str


class Flip(_Frozen):
    """A question that the sides answer differently.

    Attributes:
        id: The question's.
        level: How hard the set says it is.
        question: Its text.
        expected: The right answer.
        reference_mean: Share of right answers on the reference side.
        arm_mean: The same on the other side.
        reference: A sample of the reference side that is behind the difference.
        arm: One of the other side.
    """

    id: str
    level: str | None
    question: str
    expected: str
    reference_mean: float
    arm_mean: float
    reference: Shown
    arm: Shown

    @property
    def lost(self) -> bool:
        """Whether the arm is the worse side."""
        return self.arm_mean < self.reference_mean


class LevelScore(_Frozen):
    """Questions of one difficulty: scores as fractions, and their difference's interval."""

    level: str
    questions: int
    reference: float
    arm: float
    difference: float
    interval: tuple[float, float]


class SettingDiff(_Frozen):
    """A setting that is not the same on both sides; ``?`` where a side does not say it."""

    name: str
    reference: str
    arm: str


class Pairing(_Frozen):
    """One comparison, question by question.

    Attributes:
        job: The job or benchmark.
        layout: Its name; "" where a side has none.
        reference: The reference side's name.
        arm: The other one's.
        questions: Asked on both sides, with a usable answer on each.
        left_out: Questions that were not.
        lost: Questions on which the arm scores lower.
        gained: Questions on which it scores higher.
        same_text: Share of samples (question and repeat) with the same response on both sides; None
            where none was asked on both.
        reference_tokens: Mean tokens of an answer; None where no answer says.
        arm_tokens: The same.
        reference_marks: Samples of each mark, over the questions of both sides.
        arm_marks: The same.
        reference_in_flight: Requests that were in flight at once, on average; None if unknown.
        arm_in_flight: The same.
        levels: By difficulty, where the data has it and there is more than one.
        flips: Every question that differs: lost ones first, the greatest differences first.
        settings: Of asking and sampling, where the sides differ.
    """

    job: str
    layout: str
    reference: str
    arm: str
    questions: int
    left_out: int
    lost: int
    gained: int
    same_text: float | None
    reference_tokens: float | None
    arm_tokens: float | None
    reference_marks: dict[Mark, int]
    arm_marks: dict[Mark, int]
    reference_in_flight: float | None
    arm_in_flight: float | None
    levels: list[LevelScore]
    flips: list[Flip]
    settings: list[SettingDiff]

    @property
    def discordance(self) -> float:
        """Share of questions on which the sides differ."""
        return (self.lost + self.gained) / self.questions
