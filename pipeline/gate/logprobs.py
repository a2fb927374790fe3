"""Checks of log-probabilities, position by position: do two arms differ by more than rounding?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median, stdev

from scipy.special import stdtrit

from evals.logprobs.trails import Trail, differences
from pipeline.experiment.gates import Gate
from pipeline.gate.evidence import Evidence, begin, missing
from pipeline.gate.model import Check, Verdict
from pipeline.stats import decision

__all__ = ["SHIFT", "against_reference"]

SHIFT = "logprob_shift"

# A text of which not one step can be compared says that its first token differs, which comes from
# prefill: with more of those than this, what is left is no sample of the texts any more.
_MOST_UNCOMPARED = 0.5


@dataclass(frozen=True, kw_only=True)
class _Shift:
    """What two sides differ by.

    Attributes:
        by_text: |difference| in nats at each compared decode step, by text; all launches together.
        texts: Texts that both sides were asked.
        parted: Step, counted from 1, at which a text first took another token; the earliest of
            all launches. The first comes from prefill.
        prefill: |difference| in nats at each token of the texts themselves.
    """

    by_text: Mapping[str, Sequence[float]]
    texts: int
    parted: Mapping[str, int]
    prefill: Sequence[float]

    @property
    def means(self) -> list[float]:
        """The mean of each text: the unit of what is judged."""
        return [fmean(values) for values in self.by_text.values()]

    @property
    def steps(self) -> list[float]:
        """All compared decode steps."""
        return [value for values in self.by_text.values() for value in values]


def against_reference(
    job: str, arm: Evidence, reference: Evidence, gate: Gate | None, alpha: float
) -> Check:
    """The mean |difference| of log-probabilities in decode, judged where a gate asks.

    The unit is the text: its steps follow from one another. The interval is Student's t over texts,
    each bound with the error rate alpha; the gate's margin is the largest mean shift, in nats, that
    rounding may explain, set beforehand. Each launch of the arm is held against the reference's
    of the same block, and a text that several launches were asked is still one text.
    """
    check, gap = begin(job, SHIFT, "shift", arm, reference, gate)
    if gap:
        return missing(check, gap)
    pairs = [
        (_of_repeat(ours, 0), _of_repeat(theirs, 0))
        for ours, theirs in zip(arm.trails, reference.trails, strict=True)
    ]
    seen = _shift(pairs)
    noise = _shift([(_of_repeat(t, 1), _of_repeat(t, 0)) for t in reference.trails])
    if not seen.by_text:
        return missing(check, "no step was reached over the same tokens on both sides")
    mean, bounds = _interval(seen.means, alpha)
    told = _told(seen, noise, mean)
    check = check.model_copy(
        update={
            "value": mean,
            "reference_value": fmean(noise.means) if noise.by_text else None,
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
    seen: _Shift, bounds: tuple[float, float] | None, margin: float, told: str
) -> dict[str, object]:
    verdict = Verdict.INCONCLUSIVE
    if bounds is None:
        return {"verdict": verdict, "reason": f"one text gives no interval: {told}"}
    state = decision.level_state(bounds, bounds, margin, higher_is_better=False)
    if state == "regressed":
        verdict, why = Verdict.REGRESSED, f"more than {margin:g} nats, which rounding may explain"
    elif seen.texts - len(seen.by_text) > _MOST_UNCOMPARED * seen.texts:
        why = "too few texts begin with the same token"
    elif state == "pass":
        verdict, why = Verdict.PASS, f"a shift of {margin:g} nats is excluded"
    else:
        why = f"{margin:g} nats are neither excluded nor established"
    return {"verdict": verdict, "reason": f"{why}: {told}"}


def _told(seen: _Shift, noise: _Shift, mean: float) -> str:
    beside = (
        f"noise {fmean(noise.means):.3g}, the reference asked twice on one launch"
        if noise.by_text
        else "noise unknown (set repeats to 2)"
    )
    parted = f"{len(seen.parted)} of {seen.texts} texts took another token somewhere"
    if seen.parted:
        parted += f", the first at step {min(seen.parted.values())}"
    if first := sum(step == 1 for step in seen.parted.values()):
        parted += f" ({first} there, which is prefill's)"
    prefill = (
        f"mean {fmean(seen.prefill):.3g}, largest {max(seen.prefill):.3g}"
        if seen.prefill
        else "no figures"
    )
    return (
        f"mean |difference| {mean:.3g} nats over {len(seen.steps)} decode steps, median "
        f"{median(seen.steps):.3g}, largest {max(seen.steps):.3g}; {beside}; {parted}; "
        f"prefill: {prefill}"
    )


def _of_repeat(trails: Sequence[Trail], repeat: int) -> Mapping[str, Trail]:
    return {trail.id: trail for trail in trails if trail.repeat == repeat}


def _shift(pairs: Sequence[tuple[Mapping[str, Trail], Mapping[str, Trail]]]) -> _Shift:
    by_text: dict[str, list[float]] = defaultdict(list)
    texts: set[str] = set()
    parted: dict[str, int] = {}
    prefill: list[float] = []
    for ours, theirs in pairs:
        for text in sorted(ours.keys() & theirs.keys()):
            one, other = theirs[text], ours[text]
            texts.add(text)
            if step := _parted_at(one.tokens, other.tokens):
                parted[text] = min(step, parted.get(text, step))
            prefill += map(_apart, one.prefill, other.prefill)
            if found := differences(one, other):
                by_text[text] += found
    return _Shift(by_text=by_text, texts=len(texts), parted=parted, prefill=prefill)


def _parted_at(one: Sequence[int], other: Sequence[int]) -> int:
    """The first step, counted from 1, with different tokens; 0 if there is none."""
    both = enumerate(zip(one, other, strict=False), start=1)
    return next((step for step, (ours, theirs) in both if ours != theirs), 0)


def _apart(one: float, other: float) -> float:
    return abs(one - other)


def _interval(values: Sequence[float], alpha: float) -> tuple[float, tuple[float, float] | None]:
    mean = fmean(values)
    if len(values) < 2:
        return mean, None
    half = float(stdtrit(len(values) - 1, 1 - alpha)) * stdev(values) / sqrt(len(values))
    return mean, (mean - half, mean + half)
