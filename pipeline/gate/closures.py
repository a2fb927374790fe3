"""Which closure rows a run has: latency and traces of the same load, arm by arm; pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.gate.closure import Closure, closure
from pipeline.layout import LayoutKey
from pipeline.plan import Plan
from pipeline.records import Record, Status

__all__ = ["closures", "traced_beside", "warnings"]

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
        _of(plan, records, layout, arm.name, (job, traced))
        for traced, job in traced_beside(plan).items()
        for layout in plan.layouts
        for arm in plan.arms
        if arm.name != plan.reference and not _unsupported(records, layout, arm.name)
    ]


def _unsupported(records: Sequence[Record], layout: LayoutKey, arm: str) -> bool:
    own = [record for record in records if (record.layout, record.arm) == (layout, arm)]
    return bool(own) and all(record.status is Status.UNSUPPORTED for record in own)


def _of(
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
