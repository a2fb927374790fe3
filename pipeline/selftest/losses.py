"""Cases of records that are lost, invalid, swapped or not comparable: never a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf, nan

from launchers.backends import MIXED_COMM_PLUGIN
from pipeline.gate.evidence import asks
from pipeline.gate.model import Verdict
from pipeline.records.record import Status
from pipeline.selftest.injections import (
    changed,
    disproved,
    exchanged,
    without_ranks,
)
from pipeline.selftest.matrix import Gated, harmed, proving
from pipeline.selftest.scene import Scene
from pipeline.selftest.stored import Case, Stored

__all__ = ["losses"]

_MISSING = (Verdict.MISSING,)


def losses(scene: Scene) -> Iterator[Case]:
    """All of them that the scene allows."""
    yield scene.case(
        "A/A",
        scene.base,
        "nothing: all arms repeat the reference, all gates on",
        row=scene.fine,
        run=scene.fine,
        others=(*scene.fine, Verdict.UNSUPPORTED),
    )
    for one in filter(None, (scene.speed, scene.score)):
        yield from _swapped(scene, one)
        yield from _of_record(scene, one)
        yield from _incomparable(scene, one)
    if scene.latency is not None:
        yield from _of_clients(scene, scene.latency)
    yield from _nothing(scene)
    yield from _ranks(scene)
    yield from _untimed(scene)


def _swapped(scene: Scene, one: Gated) -> Iterator[Case]:
    """Worse measurements of the arm, reported as the reference's, are a gain of the arm."""
    beside = () if asks(one.metric) else proving(scene.base, scene.place)
    narrow = scene.narrow(one, *beside)
    worse = harmed(narrow, one, narrow.cells(scene.place, one.job))
    gain: tuple[Verdict, ...] = (Verdict.IMPROVED,)
    if not scene.base.strict:
        gain = (Verdict.IMPROVED, Verdict.PASS)
    if not asks(one.metric) and not beside:
        gain = scene.fine  # nothing shows that the answers are right
    if len(scene.base.plan.layouts) == 1 or one.metric != "score":
        # On one of several layouts the reference would be found broken: a case of its own.
        yield scene.case(
            "arms swapped",
            exchanged(worse, scene.reference, scene.place),
            "the arm made much worse, then its measurements swapped with the reference's",
            of=one,
            check=gain,
            row=gain,
        )


def _of_record(scene: Scene, one: Gated) -> Iterator[Case]:
    narrow = scene.narrow(one)
    for who, place in (("arm", scene.place), ("reference", scene.reference)):
        cell = narrow.cells(place, one.job)[-1]
        gone = {key: record for key, record in narrow.records.items() if key != cell}
        yield scene.case(
            f"record of the {who} lost",
            replace(narrow, records=gone),
            f"{cell} has no record",
            of=one,
            check=_MISSING,
            row=_MISSING,
            run=_MISSING,
        )
        for status in (Status.FAILED, Status.ABORTED, Status.UNSUPPORTED, Status.INVALID):
            failed = changed(
                narrow, [cell], status=status, failure_class="crashed", reason="it broke"
            )
            yield scene.case(
                f"record of the {who} {status.value}",
                failed,
                f"{cell} is {status.value}",
                of=one,
                check=_MISSING,
                row=_MISSING,
                run=_MISSING,
            )
        yield scene.case(
            f"path of the {who} disproved",
            disproved(narrow, [cell], noticed=False),
            f"{cell} is ok, but a premise in it is disproved",
            of=one,
            check=_MISSING,
            row=_MISSING,
            run=_MISSING,
        )
    yield from _of_another_job(scene, one)


def _of_clients(scene: Scene, one: Gated) -> Iterator[Case]:
    """What a benchmark's client shows of itself, as a run marks it, or marked ok all the same."""
    narrow = scene.narrow(one)
    cells = narrow.cells(scene.place, one.job)
    if not cells or cells[-1] not in narrow.records:
        return
    cell, record = cells[-1], narrow.records[cells[-1]]

    def with_load(**load: object) -> dict[str, object]:
        kept: dict[str, object] = {
            "itl_ms": 10.0,
            "lag": None,
            "read_at_once": 0.0,
            "step_median_ms": 10.0,
            "step_mean_ms": 10.1,
            **load,
        }
        return {"details": {**record.details, "dropped_runs": 0, "client_load": [kept]}}

    lag = {"samples": 200, "median_ms": 3.0, "p99_ms": 30.0, "max_ms": 40.0, "cpu_share": 0.3}
    empty = {"completed": 8, "itls": 6 * 31, "output_tokens": 8 * 32}
    whole = empty | {"itls": 8 * 31}
    lost: list[tuple[str, str, dict[str, object]]] = [
        (
            "requests without tokens",
            "2 of 8 requests gave no token",
            {"counts": {**record.counts, **empty}},
        ),
        (
            "client late",
            "the client's loop 4 ms late at an ITL of 10 ms",
            with_load(lag={**lag, "mean_ms": 4.0}),
        ),
        (
            "streams read at once",
            "half of the events read with the one before",
            with_load(read_at_once=0.5),
        ),
        (
            "ITL and TPOT differ",
            "steps of 2 ms in the median and 10 ms in the mean",
            with_load(step_median_ms=2.0),
        ),
    ]
    for name, injected, changes in lost:
        yield scene.case(
            name,
            changed(narrow, [cell], **changes),
            f"{injected} in {cell}, which is marked ok",
            of=one,
            check=_MISSING,
            row=_MISSING,
            run=_MISSING,
        )
    for failure in ("no-token", "starved-client", "busy-host"):
        marked = changed(
            narrow, [cell], status=Status.INVALID, failure_class=failure, reason="by the self-test"
        )
        yield scene.case(
            f"invalid: {failure}",
            marked,
            f"{cell} is invalid, {failure}",
            of=one,
            check=_MISSING,
            row=_MISSING,
            run=_MISSING,
        )
    fine = with_load(lag={**lag, "mean_ms": 0.2}, read_at_once=0.02)
    yield scene.case(
        "client kept up",
        changed(narrow, [cell], counts={**record.counts, **whole}, **fine),
        f"all tokens of {cell} seen, by a client that was never late",
        of=one,
        check=scene.fine,
        row=scene.fine,
        run=scene.fine,
    )


def _of_another_job(scene: Scene, one: Gated) -> Iterator[Case]:
    """What nothing gates is still part of the row; and an invalid arm has no good job."""
    narrow = scene.narrow(one)
    others = [job for job in narrow.plan.jobs if job != one.job]
    cells = [cell for job in others for cell in narrow.cells(scene.place, job)]
    cells = [cell for cell in cells if cell in narrow.records]
    if not cells:
        return
    failed = changed(narrow, cells[:1], status=Status.FAILED, reason="it broke")
    yield scene.case(
        "record of another job failed",
        failed,
        f"{cells[0]}, which no gate asks for, failed",
        of=one,
        check=scene.fine,
        row=_MISSING,
        run=_MISSING,
    )
    gone = {key: record for key, record in narrow.records.items() if key != cells[0]}
    yield scene.case(
        "record of another job lost",
        replace(narrow, records=gone),
        f"{cells[0]}, which no gate asks for, lost",
        of=one,
        check=scene.fine,
        row=_MISSING,
        run=_MISSING,
    )
    yield scene.case(
        "arm invalid in another job",
        disproved(narrow, cells[:1], noticed=True),
        f"{cells[0]} invalid: the arm was not what it claims",
        of=one,
        check=_MISSING,
        row=_MISSING,
        run=_MISSING,
    )


def _incomparable(scene: Scene, one: Gated) -> Iterator[Case]:
    narrow = scene.narrow(one)
    cells = narrow.cells(scene.place, one.job)
    record = narrow.records[cells[0]]
    made: list[tuple[str, Stored]] = [
        (
            "settings differ",
            changed(narrow, cells[:1], settings={**record.settings, "deadline_s": -1.0}),
        )
    ]
    if one.metric == "score":
        for digest in ("ids_digest", "protocol_digest"):
            other = {**record.details, digest: "another"}
            without = {key: value for key, value in record.details.items() if key != digest}
            made += [
                (f"{digest} differs", changed(narrow, cells, details=other)),
                (f"{digest} lost", changed(narrow, cells, details=without)),
            ]
        marker = {**record.details, "grader": "another marker"}
        made.append(("marked by another marker", changed(narrow, cells, details=marker)))
        fewer = {**narrow.answers, **{cell: narrow.answers[cell][1:] for cell in cells}}
        none = {**narrow.answers, **{cell: [] for cell in cells}}
        made += [
            ("a question not asked", replace(narrow, answers=fewer)),
            ("no question asked", replace(narrow, answers=none)),
        ]
    else:
        for name, value in (("zero", 0.0), ("infinity", inf), ("NaN", nan)):
            metrics = {**record.metrics, one.metric: value}
            made.append((f"a speed of {name}", changed(narrow, cells[:1], metrics=metrics)))
    launch = narrow.launches(scene.place, one.job)[0].id
    if launch in narrow.facts:
        known = narrow.facts[launch]
        packages = {**known.packages, "torch": "0.0.0"}
        other_facts = known.model_copy(update={"packages": packages})
        rest = {key: value for key, value in narrow.facts.items() if key != launch}
        made += [
            ("a package differs", replace(narrow, facts={**narrow.facts, launch: other_facts})),
            ("facts lost", replace(narrow, facts=rest)),
        ]
    for name, stored in made:
        yield scene.case(
            name,
            stored,
            f"{name} in {cells[0]}",
            of=one,
            check=_MISSING,
            row=_MISSING,
            run=_MISSING,
        )


def _nothing(scene: Scene) -> Iterator[Case]:
    base = scene.base
    yield scene.case(
        "no record at all",
        replace(base, records={}),
        "the whole run lost",
        row=_MISSING,
        run=_MISSING,
    )
    yield scene.case(
        "no gate", base.with_gates({}), "an experiment without gates", row=_MISSING, run=_MISSING
    )
    first = scene.gates[0]
    alone = scene.narrow(first)
    arms = [arm for arm in alone.plan.arms if arm.name == alone.plan.reference]
    launches = [one for one in alone.plan.launches if one.arm == alone.plan.reference]
    only = alone.plan.model_copy(update={"arms": arms, "launches": launches})
    yield scene.case(
        "only the reference",
        replace(alone, plan=only),
        "no arm but the reference",
        at=scene.reference,
        run=_MISSING,
    )
    here = {
        cell.id for one in alone.plan.launches if one.arm == scene.place.arm for cell in one.cells
    }
    refused = changed(
        alone, here & alone.records.keys(), status=Status.UNSUPPORTED, reason="not here"
    )
    yield scene.case(
        "no arm can run here",
        refused,
        f"all records of {scene.place.arm} unsupported",
        row=(Verdict.UNSUPPORTED,),
        run=_MISSING,
    )
    yield from _not_planned(scene)


def _not_planned(scene: Scene) -> Iterator[Case]:
    """A gated job that no launch runs, beside one that all run and pass."""
    first = scene.gates[0]
    other = next((one for one in scene.gates if one.job != first.job), None)
    both = scene.narrow(first) if other is None else scene.narrow(first, other)
    bare = [
        one.model_copy(update={"cells": [c for c in one.cells if c.job != first.job]})
        for one in both.plan.launches
    ]
    kept = {key: value for key, value in both.records.items() if value.job != first.job}
    plan = both.plan.model_copy(update={"launches": bare})
    yield scene.case(
        "gated job not planned",
        replace(both, plan=plan, records=kept),
        f"no launch runs the gated job {first.job}",
        row=_MISSING,
        run=_MISSING,
    )


def _ranks(scene: Scene) -> Iterator[Case]:
    """Witness files: of all ranks they change nothing, and without one the arm is invalid."""
    arm = next(one for one in scene.base.plan.arms if one.name == scene.place.arm)
    here = [one.id for one in scene.base.plan.launches if (one.layout, one.arm) == scene.place]
    there = all(scene.base.witnesses.get(launch) for launch in here)
    if MIXED_COMM_PLUGIN not in arm.plugins or not there:
        return
    for missing in (0, 1):
        found = _MISSING if missing else scene.fine
        yield scene.case(
            "a rank without witness" if missing else "all ranks with witness",
            without_ranks(scene.base, scene.place, missing),
            f"{missing} witness files lost of each launch of {scene.place.arm}",
            row=found,
            run=found,
        )


def _untimed(scene: Scene) -> Iterator[Case]:
    """Traces that gave no time without imbalance change no verdict, and the headline says so."""
    one = scene.score
    traced = [
        cell
        for cell, record in scene.base.records.items()
        if record.kind == "comm-kernels" and record.arm == scene.place.arm
    ]
    if one is None or not traced:
        return
    narrow = scene.narrow(one)
    times = {"times": {"refused": "the self-test says that its groups are unknown"}}
    yield scene.case(
        "traces without the time they are for",
        changed(narrow, traced, details=times),
        f"no time without imbalance from the traces of {scene.place.arm}",
        of=one,
        row=scene.fine,
        run=scene.fine,
        headline=f"no communication time without imbalance from {len(traced)} of",
    )
