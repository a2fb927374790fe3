"""The power statement as it is printed and written as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.power.cost import Cost

__all__ = ["PowerStatement", "ScorePower", "SpeedPower"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScorePower(_Frozen):
    """One gated score. Fractions are of 1; None: cannot be reached.

    Attributes:
        questions: Asked in each arm on each layout.
        samples: Answers to each of them: repeats times launches.
        score: Assumed or measured.
        within: Variance of one answer of one question, likewise.
        source: Where these are from.
        alarms: Comparisons of scores in the whole experiment that share alpha.
        pass_chance: Chance that an arm without any difference passes.
        smallest_drop: Found with a chance of 80 %.
        unseen: Chance that a loss of the margin, whole on a few questions, meets none of those
            asked.
        questions_needed: About how many, at these samples, pass an equal arm 80 % of the time.
        samples_needed: Least number, at these questions, that does so.
        stages: In how many stages they are asked; the chances above are those of one look, and the
            smallest drop is found earlier or at the end.
        staged_pass_chance: As `pass_chance`, asked in these stages; None where there is one.
        staged_share: Mean share of the questions that an equal arm is then asked.
    """

    job: str
    metric: str
    margin: float
    questions: int
    samples: int
    score: float
    within: float
    source: str
    alarms: int
    pass_chance: float
    smallest_drop: float | None
    unseen: float
    questions_needed: int
    samples_needed: int | None
    stages: int
    staged_pass_chance: float | None
    staged_share: float | None


class SpeedPower(_Frozen):
    """One gated latency or throughput.

    Attributes:
        launches: Of each arm and layout.
        spread: Standard deviation of the log difference of two launches inside a block.
        source: Where it is from.
        alarms: Comparisons of speed that share alpha.
        pass_chance: Chance that an arm without any difference passes.
        smallest_change: Relative change to the worse that is found with a chance of 80 %.
        smallest_p: The smallest p-value that the signs of so many blocks can give by themselves.
        launches_needed: Least number that passes an equal arm 80 % of the time.
    """

    job: str
    metric: str
    margin: float
    launches: int
    spread: float
    source: str
    alarms: int
    pass_chance: float
    smallest_change: float | None
    smallest_p: float
    launches_needed: int | None


class PowerStatement(_Frozen):
    """What an experiment can show.

    Attributes:
        alpha: One-sided error rate of every gate.
        power: The chance that "found" means.
        scores: Gated scores.
        speeds: Gated latencies and throughputs.
        costs: By job, and the starts of servers.
        gpu_hours: Sum of those that are known; None where no GPU serves.
        impossible: Gates that can never fire or never pass, and what would.
        not_estimated: Gates of which nothing is said, and why.
    """

    schema_version: Literal[1] = 1
    experiment: str
    alpha: float
    power: float
    scores: list[ScorePower]
    speeds: list[SpeedPower]
    costs: list[Cost]
    gpu_hours: float | None
    impossible: list[str]
    not_estimated: list[str]
