"""Cases of gains that must not be claimed, broken references, floors and proofs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from evals.metrics import METRICS
from pipeline.experiment.gates import Gate
from pipeline.gate.gains import repeats_reference
from pipeline.gate.model import Verdict
from pipeline.records.record import PremiseResult, Record
from pipeline.selftest.injections import MORE_HURTS, at_blocks, changed, remarked, share_of
from pipeline.selftest.matrix import Gated, harmed, proving
from pipeline.selftest.scene import Scene
from pipeline.selftest.stored import Case, Place, Stored

__all__ = ["claims"]

_PASS = (Verdict.PASS,)
_REGRESSED = (Verdict.REGRESSED,)
_MISSING = (Verdict.MISSING,)
_INCONCLUSIVE = (Verdict.INCONCLUSIVE,)


def claims(scene: Scene) -> Iterator[Case]:
    """All of them that the scene allows."""
    if scene.speed is not None:
        yield from _not_the_best(scene, scene.speed)
        yield from _below_the_noise(scene, scene.speed)
        if scene.score is not None:
            yield from _not_counted(scene, scene.speed, scene.score)
        yield from _proofs(scene, scene.speed)
    if scene.score is not None:
        yield from _references(scene, scene.score)
        yield from _floors(scene, scene.score)


def _not_counted(scene: Scene, speed: Gated, score: Gated) -> Iterator[Case]:
    """Fast and wrong is no gain, nor fast where nobody asks for right answers."""
    alone = scene.narrow(speed)
    unasked = harmed(alone, speed, alone.cells(scene.place, speed.job), gain=True)
    yield scene.case(
        "faster, accuracy not asked",
        unasked,
        "a large gain in speed, and no gate on accuracy",
        of=speed,
        check=scene.fine,
        row=scene.fine,
        run=scene.fine,
    )
    both = scene.narrow(speed, score)
    fast = harmed(both, speed, both.cells(scene.place, speed.job), gain=True)
    wrong = harmed(fast, score, fast.cells(scene.place, score.job))
    yield scene.case(
        "faster and wrong",
        wrong,
        "a large gain in speed, and many answers wrong",
        of=speed,
        check=_INCONCLUSIVE,
        row=_REGRESSED,
        run=_REGRESSED,
    )
    lost = {
        key: value
        for key, value in fast.answers.items()
        if key not in fast.cells(scene.place, score.job)
    }
    yield scene.case(
        "faster, answers lost",
        replace(fast, answers=lost),
        "a large gain in speed, and no answers to show that it is right",
        of=speed,
        check=_INCONCLUSIVE,
        row=_MISSING,
        run=_MISSING,
    )


def _proved(scene: Scene, one: Gated) -> dict[str, dict[str, Gate]]:
    """One gate, and beside it one on accuracy, without which no gain counts at all."""
    gates: dict[str, dict[str, Gate]] = {one.job: {one.metric: one.gate}}
    for beside in proving(scene.base, scene.place):
        gate = beside.gate.model_copy(update={"floor": None})
        gates.setdefault(beside.job, {})[beside.metric] = gate
    return gates


def _not_the_best(scene: Scene, one: Gated) -> Iterator[Case]:
    """Faster than the reference and no faster than another baseline is no gain."""
    here = [Place(scene.place.layout, name) for name in scene.base.plan.baselines]
    if not here or scene.place.arm in scene.base.plan.baselines or not scene.base.strict:
        return
    alone = scene.base.with_gates(_proved(scene, one))
    fast = harmed(alone, one, alone.cells(scene.place, one.job), gain=True)
    best = harmed(fast, one, fast.cells(here[0], one.job), gain=True)
    yield scene.case(
        "faster than the reference only",
        best,
        f"a large gain, and the same of the baseline {here[0].arm}",
        of=one,
        check=_PASS,
        row=_PASS,
    )


def _below_the_noise(scene: Scene, one: Gated) -> Iterator[Case]:
    """A gain that an arm like the reference shows by chance is none."""
    again = repeats_reference(scene.base.plan)
    if not again or scene.place.arm in again or not scene.base.strict:
        return
    alone = scene.base.with_gates(_proved(scene, one))
    alone = replace(alone, plan=alone.plan.model_copy(update={"baselines": []}))
    more = MORE_HURTS[METRICS[one.metric].unit]
    gain = 1 / (1 + 2 * one.gate.margin) if more else 1 + 2 * one.gate.margin
    fast = at_blocks(alone, alone.cells(scene.place, one.job), one.metric, lambda _block: gain)
    same = Place(scene.place.layout, again[0])
    noisy = at_blocks(
        fast, fast.cells(same, one.job), one.metric, lambda block: (1.0, 1.3, 0.75)[block % 3]
    )
    yield scene.case(
        "gain below the noise floor",
        noisy,
        f"a gain of twice the margin, while {same.arm} scatters by 30 %",
        of=one,
        check=_PASS,
        row=_PASS,
    )


def _references(scene: Scene, one: Gated) -> Iterator[Case]:
    """A reference that is broken on one layout proves nothing there."""
    if len(scene.base.plan.layouts) < 2:
        return
    narrow = scene.narrow(one)
    broken: Stored = narrow
    for place in (scene.reference, scene.place):
        broken = harmed(broken, one, broken.cells(place, one.job))
    told = "many answers of reference and arm wrong on this layout only"
    yield scene.case(
        "reference broken on a layout",
        broken,
        told,
        of=one,
        at=scene.reference,
        against="other layouts",
        check=_REGRESSED,
        row=_REGRESSED,
        run=_REGRESSED,
    )
    yield scene.case(
        "arm equal to a broken reference",
        broken,
        told,
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_REGRESSED,
    )


def _floors(scene: Scene, one: Gated) -> Iterator[Case]:
    """Equal arms that are both below the floor."""
    if one.gate.floor is None:
        return
    alone = scene.base.with_gates({one.job: {one.metric: one.gate}})
    low = alone
    for launch in alone.plan.launches:
        for cell in launch.cells:
            if cell.job == one.job and cell.id in alone.answers:
                many = share_of(alone.answers[cell.id], 1.0)
                low = remarked(low, [cell.id], "wrong", many, of=("correct",))
    yield scene.case(
        "all arms below the floor",
        low,
        "all answers of all arms wrong",
        of=one,
        against="floor",
        check=_REGRESSED,
        row=_REGRESSED,
        run=_REGRESSED,
    )
    if scene.base.strict:
        kept = alone
        gate = one.gate.model_copy(update={"floor": _share_right(alone, scene, one)})
        yield scene.case(
            "floor not excluded",
            kept.with_gates({one.job: {one.metric: gate}}),
            "the floor raised to the score itself",
            of=one,
            against="floor",
            check=_INCONCLUSIVE,
            row=_INCONCLUSIVE,
            run=_INCONCLUSIVE,
        )


def _share_right(stored: Stored, scene: Scene, one: Gated) -> float:
    answers = stored.answers[stored.cells(scene.place, one.job)[0]]
    counting = [answer for answer in answers if answer.mark != "error"]
    return sum(answer.mark == "correct" for answer in counting) / len(counting)


def _proofs(scene: Scene, one: Gated) -> Iterator[Case]:
    """With proof required, an arm of which a proof is missing passes nothing."""
    narrow = scene.narrow(one)
    strict = replace(narrow, plan=narrow.plan.model_copy(update={"require_proof": True}))
    for state, found in (("proved", scene.fine), ("unproved", _MISSING)):
        made = strict
        for cell, record in strict.records.items():
            made = changed(made, [cell], premises=_premises(record, state))
        yield scene.case(
            f"proof required, {state}",
            made,
            f"decode kernels {state} for every arm",
            of=one,
            row=found,
            run=found,
        )
    bare = strict
    for cell in strict.records:
        bare = changed(bare, [cell], premises=[])
    yield scene.case(
        "proof required, none asked",
        bare,
        "records that say nothing of what ran",
        of=one,
        row=_MISSING,
        run=_MISSING,
    )


def _premises(record: Record, state: str) -> list[PremiseResult]:
    kernels = PremiseResult.model_validate(
        {"name": "decode kernels", "state": state, "detail": "by the self-test"}
    )
    rest = [one for one in record.premises if one.name != kernels.name]
    proved = [one.model_copy(update={"state": "proved"}) for one in rest]
    return [*proved, kernels]
