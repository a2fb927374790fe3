"""Cases of effects that are small, noisy or few: a gate needs size and proof, both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import exp, log

from evals.metrics import METRICS
from pipeline.experiment.gates import Gate
from pipeline.gate.model import Verdict
from pipeline.selftest.injections import (
    MORE_HURTS,
    at_blocks,
    changed,
    remarked,
    repeated,
    scaled,
    share_of,
    shifted,
)
from pipeline.selftest.matrix import Gated, harmed
from pipeline.selftest.scene import Scene
from pipeline.selftest.stored import Case, Stored
from pipeline.stats import launch_ratio

__all__ = ["statistics"]

_INCONCLUSIVE = (Verdict.INCONCLUSIVE,)
_PASS = (Verdict.PASS,)

# Launches with which one that is worse by twice the margin is lost in the mean.
_MANY = 9

# Steps of the search for a scatter that gives a wanted p-value.
_BISECTIONS = 60


def statistics(scene: Scene) -> Iterator[Case]:
    """All of them that the scene allows; those that need known numbers on shipped records only."""
    if scene.speed is not None:
        yield from _few_launches(scene, scene.speed)
        yield from _speeds(scene, scene.speed)
    if scene.score is not None and scene.base.strict:
        yield from _answers(scene, scene.score)
        yield from _stages(scene, scene.score)
    if scene.shift is not None:
        yield from _shifts(scene, scene.shift)


def _few_launches(scene: Scene, one: Gated) -> Iterator[Case]:
    narrow = scene.narrow(one)
    launches = [launch for launch in narrow.plan.launches if launch.block == 0]
    plan = narrow.plan.model_copy(update={"launches": launches})
    cells = {cell.id for launch in launches for cell in launch.cells}
    records = {key: value for key, value in narrow.records.items() if key in cells}
    slow = scaled(
        replace(narrow, plan=plan, records=records),
        [cell for cell in narrow.cells(scene.place, one.job) if cell in cells],
        one.metric,
        _worse(one, 4.0),
    )
    yield scene.case(
        "one launch an arm",
        slow,
        "a large harm, but one launch of each arm only",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )


def _worse(one: Gated, margins: float) -> float:
    """A factor to the worse, of so many margins."""
    more = MORE_HURTS[METRICS[one.metric].unit]
    step = log(1 + one.gate.margin) if more else log(1 - one.gate.margin)
    return exp(margins * step)


def _speeds(scene: Scene, one: Gated) -> Iterator[Case]:
    narrow = scene.narrow(one)
    cells = narrow.cells(scene.place, one.job)
    if len(cells) < 3:
        return
    for name, margins in (("harm", 0.5), ("gain", -0.5)):
        yield scene.case(
            f"{name} of half the margin",
            scaled(narrow, cells, one.metric, _worse(one, margins)),
            f"a {name} of half the margin, on every launch",
            of=one,
            check=_PASS,
            row=_PASS,
            run=_PASS,
        )
    alpha = narrow.plan.alpha
    # Twice the margin, with a scatter of launches so large that p is above alpha.
    yield scene.case(
        "harm in noise",
        _scattered(narrow, one, cells, 2.0, 2 * alpha),
        "twice the margin to the worse, lost in the noise of launches",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )
    yield scene.case(
        "no effect in noise",
        _scattered(narrow, one, cells, 0.02, 0.48),
        "no effect, and noise of launches that does not exclude the margin",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )
    many = repeated(narrow, -(-_MANY // len(cells)))
    one_slow = many.cells(scene.place, one.job)[-1:]
    yield scene.case(
        "one slow launch of many",
        scaled(many, one_slow, one.metric, _worse(one, 2.0)),
        "one launch of nine or more worse by twice the margin, the others equal: their mean passes",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )
    if scene.base.strict:
        # One of several comparisons may look significant by chance: what Holm is for.
        yield scene.case(
            "p below alpha by itself only",
            _scattered(narrow, one, cells, 2.0, 0.6 * alpha),
            "twice the margin to the worse with a p-value that Holm's correction does not reject",
            of=one,
            check=_INCONCLUSIVE,
            row=_INCONCLUSIVE,
            run=_INCONCLUSIVE,
        )


def _scattered(
    stored: Stored, one: Gated, cells: list[str], margins: float, wanted: float
) -> Stored:
    """An effect of so many margins with launches scattered until its p-value is as wanted."""
    factor = _worse(one, margins)
    blocks = [stored.records[cell].block for cell in cells]
    signs = {block: (1.0, -1.0, 0.0)[index % 3] for index, block in enumerate(blocks)}
    if len(blocks) % 3:
        signs = {
            block: value if index < len(blocks) - len(blocks) % 3 else 0.0
            for index, (block, value) in enumerate(signs.items())
        }
    low, high = 1e-4, 5.0
    for _ in range(_BISECTIONS):
        scatter = (low + high) / 2
        values = {block: factor * exp(scatter * sign) for block, sign in signs.items()}
        seen = launch_ratio(dict.fromkeys(blocks, 1.0), values, stored.plan.alpha)
        p = seen.p_lower if factor < 1 else seen.p_higher
        assert p is not None
        low, high = (scatter, high) if p < wanted else (low, scatter)
    return at_blocks(stored, cells, one.metric, lambda block: factor * exp(scatter * signs[block]))


def _apart(stored: Stored, cells: list[str], worse: float, better: float) -> Stored:
    """Shares of the questions that only the reference, and only the arm, answers right."""
    asked = stored.answers[cells[0]]
    some = remarked(stored, cells, "wrong", share_of(asked, worse), of=("correct",))
    among = {a.id for a in [a for a in asked if a.mark == "wrong"][: share_of(asked, better)]}
    answers = {
        cell: [
            a.model_copy(update={"mark": "correct"}) if a.id in among else a
            for a in some.answers[cell]
        ]
        for cell in cells
    }
    return replace(some, answers={**some.answers, **answers})


def _answers(scene: Scene, one: Gated) -> Iterator[Case]:
    """Shares of questions are chosen for 400 questions and a margin of 5 points."""
    narrow = scene.narrow(one)
    cells = narrow.cells(scene.place, one.job)
    yield scene.case(
        "loss inside the margin",
        _apart(narrow, cells, 0.02, 0.0),
        "2 points worse, established, margin 5",
        of=one,
        check=_PASS,
        row=_PASS,
        run=_PASS,
    )
    yield scene.case(
        "loss in noise",
        _apart(narrow, cells, 0.125, 0.095),
        "50 answers worse, 38 better",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )
    yield scene.case(
        "gain in noise",
        _apart(narrow, cells, 0.095, 0.11),
        "38 answers worse, 44 better",
        of=one,
        check=_PASS,
        row=_PASS,
        run=_PASS,
    )
    tight = narrow.with_gates({one.job: {one.metric: Gate(margin=0.0075)}})
    yield scene.case(
        "too few questions",
        tight,
        "no difference, margin 0.75 points: 380 questions miss such a loss in few of them with 6 %",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )
    both = narrow.with_gates({one.job: {**scene.base.plan.gates[one.job], one.metric: one.gate}})
    yield scene.case(
        "loss that only Holm rejects",
        replace(_apart(narrow, cells, 0.15, 0.1), plan=both.plan),
        "60 answers worse, 40 better, beside several other gated comparisons",
        of=one,
        check=_INCONCLUSIVE,
        row=_INCONCLUSIVE,
        run=_INCONCLUSIVE,
    )


def _stages(scene: Scene, one: Gated) -> Iterator[Case]:
    """The same gate where questions are asked in four stages."""
    narrow = scene.narrow(one)
    jobs = {**narrow.plan.jobs, one.job: {**narrow.plan.jobs[one.job], "stages": 4}}
    staged = replace(narrow, plan=narrow.plan.model_copy(update={"jobs": jobs}))
    cells = staged.cells(scene.place, one.job)
    cases: list[tuple[str, Stored, tuple[Verdict, ...]]] = [
        ("nothing", staged, _PASS),
        ("harm", harmed(staged, one, cells), (Verdict.REGRESSED,)),
        ("loss in noise", _apart(staged, cells, 0.125, 0.095), _INCONCLUSIVE),
        ("ended at a stage", _stopped(staged, cells, 300), _PASS),
        ("ended where no stage ends", _stopped(staged, cells, 123), (Verdict.MISSING,)),
    ]
    for name, stored, found in cases:
        yield scene.case(
            f"in stages, {name}",
            stored,
            f"questions asked in four stages; {name}",
            of=one,
            check=found,
            row=found,
            run=found,
        )


def _stopped(stored: Stored, cells: list[str], questions: int) -> Stored:
    """An arm that was asked the first questions only."""
    details = {**stored.records[cells[0]].details, "stopped": {"questions": questions}}
    answers = {cell: stored.answers[cell][:questions] for cell in cells}
    made = changed(stored, cells, details=details)
    return replace(made, answers={**made.answers, **answers})


def _shifts(scene: Scene, one: Gated) -> Iterator[Case]:
    narrow = scene.narrow(one)
    cells = narrow.cells(scene.place, one.job)
    small = shifted(narrow, cells, 0.5 * one.gate.margin)
    yield scene.case(
        "shift inside the margin",
        small,
        "log-probabilities shifted by half the margin",
        of=one,
        check=_PASS,
        row=_PASS,
        run=_PASS,
    )
    if scene.base.strict:
        trails = dict(narrow.trails)
        for cell in cells:
            other = shifted(narrow, [cell], 0.0, other_token=True).trails[cell]
            own = narrow.trails[cell]
            keep = len(own) // 4
            trails[cell] = [*own[:keep], *other[keep:]]
        yield scene.case(
            "few texts begin alike",
            replace(narrow, trails=trails),
            "three of four texts begin with another token",
            of=one,
            check=_INCONCLUSIVE,
        )
