"""The report's tables of speed against every baseline, and of the noise floor."""

from __future__ import annotations

from dataclasses import dataclass

from evals.metrics import METRICS
from pipeline.gate.model import Check, Judgement
from pipeline.plan import Plan
from pipeline.report.numbers import estimate_text, value_text

__all__ = ["GainLine", "NoiseLine", "gain_lines", "gain_text", "noise_lines"]

_NONE = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class GainLine:
    """One speed of one arm on one layout; ``against`` is in the order of the baselines.

    Its last entry is the best of them.
    """

    layout: str
    arm: str
    label: str
    value: str
    against: list[str]


@dataclass(frozen=True, kw_only=True)
class NoiseLine:
    """What equal arms show of one speed on one layout."""

    layout: str
    arm: str
    label: str
    ratio: str
    floor: str


def gain_text(metric: str, ratio: float) -> str:
    """How many times as good, from arm over baseline; above 1 is a gain whatever the metric."""
    gain = 1 / ratio if METRICS[metric].better == "lower" else ratio
    return f"{gain:.2f}x"


def gain_lines(plan: Plan, judgement: Judgement) -> list[GainLine]:
    """One for each speed that was held against all baselines; none without further baselines."""
    found: list[GainLine] = []
    for row in judgement.rows:
        for best in (check for check in row.checks if check.against == "best baseline"):
            told = {
                check.other if check.against == "baseline" else plan.reference: check
                for check in row.checks
                if (check.job, check.metric) == (best.job, best.metric)
                and check.against in ("baseline", "reference")
            }
            each = [told.get(name) for name in (plan.reference, *plan.baselines)]
            value = next((check.value for check in each if check is not None), None)
            last = _text(best)
            found.append(
                GainLine(
                    layout=str(row.layout),
                    arm=row.arm,
                    label=f"{best.job} {METRICS[best.metric].label}",
                    value=value_text(best.metric, value),
                    against=[_NONE if check is None else _text(check) for check in each]
                    + [f"{last} ({best.other})" if best.other else last],
                )
            )
    return found


def _text(check: Check) -> str:
    """The gain, and the ratio with its interval; or that there is none."""
    if check.estimate is None:
        return _NONE
    return f"{gain_text(check.metric, check.estimate)}, ratio {estimate_text(check)}"


def noise_lines(judgement: Judgement) -> list[NoiseLine]:
    """One for each speed of each arm that repeats the reference."""
    return [
        NoiseLine(
            layout=str(one.layout),
            arm=one.arm,
            label=f"{one.job} {METRICS[one.metric].label}",
            ratio=f"{one.ratio:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}]",
            floor=f"{100 * one.floor:.2f} %",
        )
        for one in judgement.noise
    ]
