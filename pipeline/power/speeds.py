"""What the launches of an experiment can show of each gated speed, and what they do not meet."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

from pydantic import BaseModel, ConfigDict

from evals.metrics import METRICS, is_fraction
from pipeline.experiment.gates import Gate
from pipeline.experiment.model import Experiment
from pipeline.power.basis import (
    POWER,
    Basis,
    JobBasis,
    assumed_spread,
    gated_launches,
    most_launches,
    speed_alarms,
)
from pipeline.stats.launch_power import (
    launches_for,
    ratio_chances,
    smallest_ratio,
    smallest_sign_flip_p,
)
from pipeline.stats.slow_mode import launches_to_meet, unseen_mode

__all__ = ["SpeedPower", "UnseenMode", "launch_lines", "mode_lines", "speed_powers"]

# Shares of a new arm's launches that a slow mode may have: one in so many.
_ONE_IN = (3, 10)


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UnseenMode(_Frozen):
    """A slow mode of one arm alone, and whether its launches meet it.

    Attributes:
        one_in: The share of launches that are slow, as one in so many.
        unseen: Chance that none of the experiment's launches is one of them.
        launches_needed: Least number that meets one but for a chance of alpha.
    """

    one_in: int
    unseen: float
    launches_needed: int


class SpeedPower(_Frozen):
    """One gated latency or throughput.

    Attributes:
        launches: Of each arm and layout.
        most_launches: With those that may be bought while it is undecided.
        spread: Standard deviation of the log difference of two launches inside a block.
        source: Where it is from.
        alarms: Comparisons of speed that share alpha.
        pass_chance: Chance that an arm without any difference passes.
        smallest_change: Relative change to the worse that is found with a chance of 80 %.
        smallest_p: The smallest p-value that the signs of so many blocks can give by themselves.
        launches_needed: Least number that passes an equal arm 80 % of the time; None: over 200.
        slow_modes: What the launches that are always made do not meet of a slow mode.
    """

    job: str
    metric: str
    margin: float
    launches: int
    most_launches: int
    spread: float
    source: str
    alarms: int
    pass_chance: float
    smallest_change: float | None
    smallest_p: float
    launches_needed: int | None
    slow_modes: list[UnseenMode]


def speed_powers(experiment: Experiment, basis: Basis) -> list[SpeedPower]:
    """Every gated speed that can be judged: of two arms at least, and of two launches each."""
    if len(experiment.arms) < 2:
        return []
    return [
        _speed(experiment, job, metric, gate, basis)
        for job, gates in experiment.gates.items()
        for metric, gate in gates.items()
        if not is_fraction(metric)
        and METRICS[metric].compared_as != "shift"
        and gated_launches(job, experiment) > 1
    ]


def _speed(experiment: Experiment, job: str, metric: str, gate: Gate, basis: Basis) -> SpeedPower:
    seen = basis.get(job, JobBasis())
    spread, source = assumed_spread(metric)
    if metric in seen.spreads:
        spread, source = seen.spreads[metric], seen.source
    lower_is_better = METRICS[metric].better == "lower"
    margin = log(1 + gate.margin) if lower_is_better else -log(1 - gate.margin)
    launches, alarms = gated_launches(job, experiment), speed_alarms(experiment)

    def chances(change: float) -> tuple[float, float]:
        return ratio_chances(
            launches, spread, margin, experiment.alpha, alarms=alarms, change=change
        )

    smallest = smallest_ratio(chances, POWER)
    change = None
    if smallest is not None:
        change = exp(smallest) - 1 if lower_is_better else 1 - exp(-smallest)
    return SpeedPower(
        job=job,
        metric=metric,
        margin=gate.margin,
        launches=launches,
        most_launches=most_launches(job, experiment),
        spread=spread,
        source=source,
        alarms=alarms,
        pass_chance=chances(0.0)[0],
        smallest_change=change,
        smallest_p=smallest_sign_flip_p(launches),
        launches_needed=launches_for(spread, margin, experiment.alpha, POWER),
        slow_modes=[
            UnseenMode(
                one_in=share,
                unseen=unseen_mode(1 / share, launches),
                launches_needed=launches_to_meet(1 / share, experiment.alpha),
            )
            for share in _ONE_IN
        ],
    )


def launch_lines(speeds: Sequence[SpeedPower], alpha: float) -> list[str]:
    """For a plan: how many launches each gate needs, and what the planned ones do not meet."""
    each = {one.launches: one for one in speeds}
    modes = [line for one in each.values() for line in mode_lines(one, alpha)]
    return [*map(_launch_line, speeds), *modes]


def _launch_line(one: SpeedPower) -> str:
    bought = f" to {one.most_launches}" if one.most_launches > one.launches else ""
    planned = f"{one.launches}{bought} planned"
    needed = "more than 200" if one.launches_needed is None else str(one.launches_needed)
    if one.launches_needed is None or one.launches_needed > one.most_launches:
        planned += ", too few"
    return (
        f"{one.job} {one.metric} within {one.margin:g}: {needed} launches pass an equal arm with "
        f"{POWER:.0%}; {planned}; spread of a difference {100 * one.spread:.2g} % ({one.source})"
    )


def mode_lines(one: SpeedPower, alpha: float) -> list[str]:
    """What so many launches do not meet of a slow mode that one arm alone has."""
    return [
        f"where one launch in {mode.one_in} of an arm is slow, none of {one.launches} launches "
        f"shows it with {mode.unseen:.0%}; {mode.launches_needed} launches leave {alpha:.0%}"
        for mode in one.slow_modes
    ]
