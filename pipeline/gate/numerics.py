"""Checks of log-probabilities, position by position: do two arms differ by more than rounding?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import t as student

from evals.logprobs_files import Trail, differences
from pipeline.gate.comparison import begin, missing
from pipeline.gate.evidence import Evidence
from pipeline.gate.model import Check, Verdict
from pipeline.spec import Gate

__all__ = ["SHIFT", "against_reference"]

SHIFT = "logprob_shift"

# A text of which not one step can be compared says that its first token differs, which comes from
# prefill: with more of those than this, what is left is no sample of the texts any more.
_MOST_UNCOMPARED = 0.5


@dataclass(frozen=True, kw_only=True)
class _Shift:
    """What two sides differ by, in nats.

    Attributes:
        by_text: Mean |difference| over the compared steps of each text.
        largest: The largest of all steps.
        steps: Steps compared.
        uncompared: Texts of which no step could be compared.
        diverged: Texts whose tokens differ somewhere.
        prefill: Largest |difference| over the tokens of the texts themselves.
    """

    by_text: Sequence[float]
    largest: float
    steps: int
    uncompared: int
    diverged: int
    prefill: float


def against_reference(
    job: str, arm: Evidence, reference: Evidence, gate: Gate | None, alpha: float
) -> Check:
    """The mean |difference| of log-probabilities in decode, judged where a gate asks.

    The unit is the text: its steps follow from one another. The interval is Student's t over texts,
    each bound with the error rate alpha; the gate's margin is the largest mean shift, in nats, that
    rounding may explain, set beforehand. All launches of the arm are held against the reference's
    launch of the same block.
    """
    check, gap = begin(job, SHIFT, "shift", arm, reference, gate)
    if gap:
        return missing(check, gap)
    pairs = [
        (_first(ours), _first(theirs))
        for ours, theirs in zip(arm.trails, reference.trails, strict=False)
    ]
    seen = _shift(pairs)
    noise = _shift([_repeats(trails) for trails in reference.trails])
    if not seen.by_text:
        return missing(check, "no step was reached over the same tokens on both sides")
    mean, bounds = _interval(seen.by_text, alpha)
    told = (
        f"mean |difference| {mean:.3g} nats over {seen.steps} decode steps, largest "
        f"{seen.largest:.3g}; {_noise(noise)}; {seen.diverged} of "
        f"{len(seen.by_text) + seen.uncompared} texts took another token somewhere; prefill "
        f"differs by at most {seen.prefill:.3g}"
    )
    check = check.model_copy(
        update={
            "value": mean,
            "reference_value": fmean(noise.by_text) if noise.by_text else None,
            "estimate": mean,
            "interval": bounds,
            "n": len(seen.by_text),
            "method": "Student's t over texts",
            "reason": told,
        }
    )
    if not check.gated or check.margin is None:
        return check
    return check.model_copy(update=_verdict(seen, bounds, check.margin, told))


def _verdict(
    seen: _Shift, bounds: tuple[float, float], margin: float, told: str
) -> dict[str, object]:
    lower, upper = bounds
    if lower > margin:
        verdict, why = Verdict.REGRESSED, f"more than {margin:g} nats, which rounding may explain"
    elif seen.uncompared > _MOST_UNCOMPARED * (seen.uncompared + len(seen.by_text)):
        verdict, why = Verdict.INCONCLUSIVE, "too few texts begin with the same token"
    elif upper < margin:
        verdict, why = Verdict.PASS, f"a shift of {margin:g} nats is excluded"
    else:
        verdict, why = Verdict.INCONCLUSIVE, f"{margin:g} nats are neither excluded nor established"
    return {"verdict": verdict, "reason": f"{why}: {told}"}


def _noise(noise: _Shift) -> str:
    if not noise.by_text:
        return "noise unknown (set repeats to 2)"
    return f"noise {fmean(noise.by_text):.3g}, the reference asked twice on one launch"


def _first(trails: Sequence[Trail]) -> Mapping[str, Trail]:
    return {trail.id: trail for trail in trails if trail.repeat == 0}


def _repeats(trails: Sequence[Trail]) -> tuple[Mapping[str, Trail], Mapping[str, Trail]]:
    return {trail.id: trail for trail in trails if trail.repeat == 1}, _first(trails)


def _shift(pairs: Sequence[tuple[Mapping[str, Trail], Mapping[str, Trail]]]) -> _Shift:
    by_text: list[float] = []
    everything: list[float] = [0.0]
    prefill: list[float] = [0.0]
    steps = uncompared = diverged = 0
    for ours, theirs in pairs:
        for text in sorted(ours.keys() & theirs.keys()):
            found = differences(theirs[text], ours[text])
            diverged += theirs[text].tokens != ours[text].tokens
            prefill += map(_apart, theirs[text].prefill, ours[text].prefill)
            if not found:
                uncompared += 1
                continue
            by_text.append(fmean(found))
            everything += found
            steps += len(found)
    return _Shift(
        by_text=by_text,
        largest=max(everything),
        steps=steps,
        uncompared=uncompared,
        diverged=diverged,
        prefill=max(prefill),
    )


def _apart(one: float, other: float) -> float:
    return abs(one - other)


def _interval(values: Sequence[float], alpha: float) -> tuple[float, tuple[float, float]]:
    mean = fmean(values)
    if len(values) < 2:
        return mean, (0.0, float("inf"))
    half = float(student.ppf(1 - alpha, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean, (mean - half, mean + half)
