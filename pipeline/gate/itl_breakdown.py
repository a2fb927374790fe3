"""How much of a change of ITL the traces explain, and by what: the closure row; pure.

A decode step's time is communication that runs alone, other kernels, and gaps (these three add up
to it, evals/comm_kernels/analysis/figures.py). ITL comes from launches that nobody profiled, the
parts from traced ones, so that they need not add up to the change of ITL; what is left is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.plan.model import LayoutKey, Plan
from pipeline.records.record import Record, Status
from pipeline.stats.launches import LaunchShift, launch_shift, minus

ITL = "median_itl_ms"
PARTS = {
    "communication": "exposed_ms",
    "other kernels": "other_kernels_ms",
    "gaps": "gaps_ms",
}
# A kernel that a backend of communication does not touch runs as fast as before. Clocks and noise
# move single kernels by a few percent; what is far beyond that, and not tiny, had less to do.
_FASTER, _OF_STEP = 0.05, 0.005


class Part(BaseModel):
    """One change, arm less reference.

    Attributes:
        name: What of.
        reference_ms: Mean over the reference's launches.
        arm_ms: Mean over the arm's launches.
        change_ms: The difference; negative: faster.
        interval: Of the difference, each side with the experiment's error rate; None: one launch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    reference_ms: float
    arm_ms: float
    change_ms: float
    interval: tuple[float, float] | None


class TooGood(BaseModel):
    """A kernel that is no communication and got faster although nothing should have changed it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: str
    reference_ms: float
    arm_ms: float


class Closure(BaseModel):
    """The closure row of one arm on one layout.

    Attributes:
        layout: The layout.
        arm: The arm.
        reference: What it is compared with.
        job: The latency job; "" where the caller did not say.
        traced: The job that took the traces; as ``job``.
        itl: Change of ITL, unprofiled; None: see ``missing``.
        parts: Changes of communication alone, other kernels and gaps, traced.
        explained: Their sum, launch by launch.
        unexplained: Change of ITL less what is explained.
        traced_step: Change of the traced step, which has the profiler's cost in it.
        too_good: Kernels that got faster although nothing should have changed them, largest first.
        missing: Why there is no row; "" where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: LayoutKey
    arm: str
    reference: str
    job: str = ""
    traced: str = ""
    itl: Part | None = None
    parts: list[Part] = []
    explained: Part | None = None
    unexplained: Part | None = None
    traced_step: Part | None = None
    too_good: list[TooGood] = []
    missing: str = ""


def closure(reference: Sequence[Record], arm: Sequence[Record], alpha: float) -> Closure:
    """The closure row from records of two arms on one layout; records of other jobs are passed by.

    Args:
        reference: Records of the reference's launches: latency and comm-kernels.
        arm: Those of the arm.
        alpha: Error rate of each side of the intervals.

    Raises:
        ValueError: There is no record, or they are of several arms or layouts.
    """
    for side in (reference, arm):
        if len({(record.arm, record.layout) for record in side}) != 1:
            raise ValueError("a closure row needs the records of one arm and layout on each side")
    if reference[0].layout != arm[0].layout:
        raise ValueError(f"{reference[0].layout} and {arm[0].layout} are not the same layout")
    names: dict[str, Any] = {
        "layout": arm[0].layout,
        "arm": arm[0].arm,
        "reference": reference[0].arm,
    }
    itl, times = [], []
    for side in (reference, arm):
        latencies, traces, missing = _of(side)
        if missing:
            return Closure(**names, missing=missing)
        itl.append(latencies)
        times.append(traces)
    return _row(names, itl, times, alpha)


_Times = Mapping[int, Mapping[str, Any]]


def _of(side: Sequence[Record]) -> tuple[dict[int, float], dict[int, Mapping[str, Any]], str]:
    """ITL and times by block, and what is missing; "" where nothing is."""
    arm = side[0].arm
    kinds = {"latency": "latency", "comm-kernels": "traces"}
    for kind, what in kinds.items():
        records = [record for record in side if record.kind == kind]
        if not records:
            return {}, {}, f"{arm} has no record of {what}"
        bad = next((record for record in records if not _counts(record)), None)
        if bad is not None:
            return {}, {}, f"{bad.cell} does not count ({bad.status.value}: {bad.reason})"
    latencies = {r.block: r.metrics[ITL] for r in side if r.kind == "latency" and ITL in r.metrics}
    traces = {r.block: r.details.get("times", {}) for r in side if r.kind == "comm-kernels"}
    if not latencies:
        return {}, {}, f"no latency record of {arm} has {ITL}"
    for times in traces.values():
        lacking = [name for name in (*PARTS.values(), "step_ms") if times.get(name) is None]
        if lacking:
            why = times.get("refused") or f"no {', '.join(lacking)} in it"
            return {}, {}, f"a trace of {arm} has no times of a step: {why}"
    return latencies, traces, ""


def _counts(record: Record) -> bool:
    return record.status is Status.OK and all(p.state != "disproved" for p in record.premises)


def _row(
    names: Mapping[str, Any],
    itl: Sequence[Mapping[int, float]],
    times: Sequence[_Times],
    alpha: float,
) -> Closure:
    def taken(*keys: str) -> list[dict[int, float]]:
        return [
            {block: sum(float(found[key]) for key in keys) for block, found in side.items()}
            for side in times
        ]

    def part(name: str, sides: Sequence[Mapping[int, float]]) -> Part:
        return _part(name, sides, launch_shift(*sides), alpha)

    explained = taken(*PARTS.values())
    left = minus(launch_shift(*itl), launch_shift(*explained))
    rests = [{0: _mean(one) - _mean(other)} for one, other in zip(itl, explained, strict=True)]
    return Closure(
        **names,
        itl=part("ITL", itl),
        parts=[part(name, taken(key)) for name, key in PARTS.items()],
        explained=part("explained", explained),
        unexplained=_part("unexplained", rests, left, alpha),
        traced_step=part("traced step", taken("step_ms")),
        too_good=_too_good(*times),
    )


def _part(
    name: str, sides: Sequence[Mapping[int, float]], shift: LaunchShift, alpha: float
) -> Part:
    interval = shift.interval(alpha)
    return Part(
        name=name,
        reference_ms=_mean(sides[0]),
        arm_ms=_mean(sides[1]),
        change_ms=shift.change,
        interval=None if interval is None else (interval[0], interval[1]),
    )


def _mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values)


def _too_good(reference: _Times, arm: _Times) -> list[TooGood]:
    """Kernels that every launch of the arm ran faster than any of the reference's, and by much."""
    step = median(float(times["step_ms"]) for times in reference.values())
    found = []
    for name in {name for times in reference.values() for name in times["compute"]}:
        before = [float(times["compute"].get(name, 0.0)) for times in reference.values()]
        after = [float(times["compute"].get(name, 0.0)) for times in arm.values()]
        saved = median(before) - median(after)
        apart = max(after) < min(before)
        if apart and saved > _FASTER * median(before) and saved > _OF_STEP * step:
            found.append(TooGood(kernel=name, reference_ms=median(before), arm_ms=median(after)))
    return sorted(found, key=lambda kernel: kernel.arm_ms - kernel.reference_ms)


_MOST_KERNELS = 3


def traced_beside(plan: Plan) -> dict[str, str]:
    """The latency job that each job of traces explains, by the traces' job.

    It has as many requests in flight, since a decode step's communication grows with them; of
    several, the one whose prompts are nearest in length, and then the first. Jobs of traces without
    such a latency job are left out.
    """
    found: dict[str, str] = {}
    for traced, settings in plan.jobs.items():
        if settings["kind"] != "comm-kernels":
            continue
        alike = [
            name
            for name, other in plan.jobs.items()
            if other["kind"] == "latency" and other["concurrency"] == settings["concurrency"]
        ]
        if alike:
            length = settings["input_len"]
            found[traced] = min(alike, key=lambda name: abs(plan.jobs[name]["input_len"] - length))
    return found


def closures(plan: Plan, records: Sequence[Record]) -> list[Closure]:
    """A closure row for each job of traces, layout and arm but the reference.

    An arm that this machine cannot run has none. A row of which a planned record is missing says
    so, and has no figures.

    Args:
        plan: What was to be run.
        records: What was, without launches that were not needed.
    """
    return [
        _closure_of(plan, records, layout, arm.name, (job, traced))
        for traced, job in traced_beside(plan).items()
        for layout in plan.layouts
        for arm in plan.arms
        if arm.name != plan.reference and not _unsupported(records, layout, arm.name)
    ]


def _unsupported(records: Sequence[Record], layout: LayoutKey, arm: str) -> bool:
    own = [record for record in records if (record.layout, record.arm) == (layout, arm)]
    return bool(own) and all(record.status is Status.UNSUPPORTED for record in own)


def _closure_of(
    plan: Plan, records: Sequence[Record], layout: LayoutKey, arm: str, jobs: tuple[str, str]
) -> Closure:
    by_cell = {record.cell: record for record in records}
    sides: list[list[Record]] = []
    missing = ""
    for name in (plan.reference, arm):
        planned = [
            cell.id
            for launch in plan.launches
            for cell in launch.cells
            if (launch.layout, launch.arm) == (layout, name)
            and cell.job in jobs
            and (cell.id in by_cell or not launch.optional)
        ]
        absent = next((cell for cell in planned if cell not in by_cell), None)
        if not planned:
            missing = missing or f"no launch of {name} runs {' and '.join(jobs)}"
        elif absent is not None:
            missing = missing or f"{absent} has no record"
        sides.append([by_cell[cell] for cell in planned if cell in by_cell])
    made = (
        Closure(layout=layout, arm=arm, reference=plan.reference, missing=missing)
        if missing
        else closure(sides[0], sides[1], plan.alpha)
    )
    return made.model_copy(update={"job": jobs[0], "traced": jobs[1]})


def warnings(found: Sequence[Closure], layout: LayoutKey, arm: str) -> list[str]:
    """What a reader must know of one row: kernels that are too good to be the arm's doing."""
    told: list[str] = []
    for one in found:
        if (one.layout, one.arm) != (layout, arm) or not one.too_good:
            continue
        named = ", ".join(
            f"{kernel.kernel} {kernel.reference_ms:.4g} ms to {kernel.arm_ms:.4g} ms"
            for kernel in one.too_good[:_MOST_KERNELS]
        )
        more = len(one.too_good) - _MOST_KERNELS
        told.append(
            f"too good: compute kernels got faster in {one.traced} although nothing should have "
            f"changed them: {named}" + (f" and {more} more" if more > 0 else "")
        )
    return told
