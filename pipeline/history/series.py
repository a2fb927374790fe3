"""The history as lines: one metric of one arm, layout and job, night by night; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict

from evals.metrics import METRICS
from pipeline.gate.model import Bounds, Verdict, worst
from pipeline.history.fingerprint import changes
from pipeline.history.model import Acceptance, Night
from pipeline.history.store import Judged
from pipeline.plan.model import LayoutKey

LEAST_NIGHTS = 6
"""With fewer no division leaves three nights on each side."""

# Otava's own defaults (Hunter, arXiv 2301.03034); a nightly looks at one new point a night.
_WINDOW, _MAX_P = 50, 0.001


class Shift(BaseModel):
    """One lasting change of level.

    Attributes:
        index: The first night of the new level, in the series.
        before: Mean of the nights before it, back to the shift before.
        after: Mean of the nights from it on, up to the next shift.
        p: Otava's p-value, of Student's t between the two sides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    before: float
    after: float
    p: float


def otava_missing() -> str:
    """Why nobody looked for drift; "" if apache-otava is there."""
    if find_spec("otava") is None:
        return "drift was not looked for: apache-otava is not installed (servegate[drift])"
    return ""


def shifts(values: Sequence[float]) -> list[Shift]:
    """Lasting changes of level in a series, one value a night, by time.

    E-divisive with Student's t in place of permutations, as in M. Fleming et al., "Hunter: Using
    Change Point Detection to Hunt for Performance Regressions", ICPE 2023, by apache-otava. It
    finds a level that stays, not one bad night.

    Args:
        values: One value a night; fewer than :data:`LEAST_NIGHTS` show nothing.

    Raises:
        ModuleNotFoundError: apache-otava is not installed (:func:`otava_missing`).
    """
    from otava.analysis import compute_change_points

    if len(values) < LEAST_NIGHTS:
        return []
    found, _ = compute_change_points(list(values), window_len=_WINDOW, max_pvalue=_MAX_P)
    return [
        Shift(
            index=int(point.index),
            before=float(point.stats.mean_1),
            after=float(point.stats.mean_2),
            p=float(point.stats.pvalue),
        )
        for point in found
    ]


_Key = tuple[LayoutKey, str, str, str]
Shifts = Callable[[Sequence[float]], list[Shift]]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Point(_Frozen):
    """One night; ``verdict`` is the worst against both baselines, None where it was not judged."""

    run: str
    started_at: str
    value: float | None
    launches: list[float]
    interval: Bounds | None
    gap: str
    verdict: Verdict | None
    reason: str
    accepted: bool
    pin: str


class Change(_Frozen):
    """A lasting change of level, and what changed with it.

    ``relative`` is a ratio minus 1, of a fraction the difference. ``harm`` says whether it is for
    the worse.
    """

    run: str
    started_at: str
    before: float
    after: float
    relative: float
    p: float
    harm: bool
    since: str
    changed: list[str]


class Bad(_Frozen):
    """The first of the nights that are regressed now, the last good one, and what lies between."""

    run: str
    started_at: str
    reason: str
    since: str
    changed: list[str]


class Line(_Frozen):
    """One metric of one arm, layout and job.

    Attributes:
        layout: The layout.
        arm: The arm.
        job: The job.
        metric: The metric.
        points: Nights by time.
        changes: Lasting changes of level.
        first_bad: The first night of the last regression that was found; None without one.
        drift: Why nobody looked for changes of level; "" if somebody did.
    """

    layout: LayoutKey
    arm: str
    job: str
    metric: str
    points: list[Point]
    changes: list[Change]
    first_bad: Bad | None
    drift: str

    @property
    def name(self) -> str:
        """Arm, layout, job and metric, as a title."""
        return f"{self.arm} on {self.layout}: {self.job} {METRICS[self.metric].label}"


def make_lines(
    nights: Sequence[Night],
    acceptances: Iterable[Acceptance],
    judged: Iterable[Judged],
    metrics: Sequence[str],
    shifts: Shifts | None,
    no_drift: str = "",
) -> list[Line]:
    """A line for each cell and metric that any night has.

    Args:
        nights: Of one experiment, by time.
        acceptances: Of that experiment.
        judged: Judgements of its nights, in the order in which they were made; the last counts.
        metrics: Which to show; none: those that a night gates.
        shifts: Finds lasting changes of level; None: nobody can.
        no_drift: Why nobody can.
    """
    made = list(acceptances)
    last = {judgement.run: judgement for judgement in judged}
    keys = dict.fromkeys(
        cell.key
        for night in nights
        for cell in night.cells
        if (cell.metric in metrics if metrics else cell.gated)
    )
    return [_line(key, nights, made, last, shifts, no_drift) for key in keys]


def _line(
    key: _Key,
    nights: Sequence[Night],
    acceptances: Sequence[Acceptance],
    judged: Mapping[str, Judged],
    shifts: Shifts | None,
    no_drift: str,
) -> Line:
    layout, arm, job, metric = key
    own = [night for night in nights if night.cell(key) is not None]
    points = [_point(key, night, acceptances, judged.get(night.run)) for night in own]
    valued = [
        (night, point.value)
        for night, point in zip(own, points, strict=True)
        if point.value is not None
    ]
    found = [] if shifts is None else shifts([value for _, value in valued])
    few = f"fewer than {LEAST_NIGHTS} nights show no drift" if len(valued) < LEAST_NIGHTS else ""
    return Line(
        layout=layout,
        arm=arm,
        job=job,
        metric=metric,
        points=points,
        changes=[_change(key, [night for night, _ in valued], shift) for shift in found],
        first_bad=_first_bad(key, own, points),
        drift=no_drift or few,
    )


def _point(
    key: _Key, night: Night, acceptances: Sequence[Acceptance], judged: Judged | None
) -> Point:
    cell = night.cell(key)
    assert cell is not None  # the caller asks for nights that have it
    checks = [
        check
        for check in (judged.checks if judged is not None else [])
        if (check.layout, check.arm, check.job, check.metric) == key
    ]
    counted = [check for check in checks if not check.quarantine] or checks
    verdict = worst(check.verdict for check in counted) if counted else None
    mine = [one for one in acceptances if one.night == night.id and not one.withdrawn]
    return Point(
        run=night.run,
        started_at=night.started_at,
        value=cell.value,
        launches=cell.launches,
        interval=cell.interval,
        gap=cell.gap,
        verdict=verdict,
        reason=next(
            (one.quarantine or one.reason for one in counted if one.verdict is verdict), ""
        ),
        accepted=bool(mine),
        pin=", ".join(accepted.pin for accepted in mine if accepted.pin),
    )


def _change(key: _Key, nights: Sequence[Night], shift: Shift) -> Change:
    metric = METRICS[key[3]]
    night, before = nights[shift.index], nights[shift.index - 1]
    difference = shift.after - shift.before
    harm = difference > 0 if metric.better == "lower" else difference < 0
    relative = (
        difference
        if metric.compared_as == "fraction" or not shift.before
        else difference / shift.before
    )
    return Change(
        run=night.run,
        started_at=night.started_at,
        before=shift.before,
        after=shift.after,
        relative=relative,
        p=shift.p,
        harm=harm and metric.better != "neither",
        since=before.run,
        changed=_changed(key, night, before),
    )


def _first_bad(key: _Key, nights: Sequence[Night], points: Sequence[Point]) -> Bad | None:
    """Of the last regression: its first night, held against the last night before it that passed.

    Nights between the two that decided nothing do not end a regression; a pass does.
    """
    first: int | None = None
    good: int | None = None
    found: tuple[int, int | None] | None = None
    for index, point in enumerate(points):
        if point.verdict is Verdict.REGRESSED:
            if first is None:
                first, found = index, (index, good)
        elif point.verdict in (Verdict.PASS, Verdict.IMPROVED) or point.accepted:
            good, first = index, None
    if found is None:
        return None
    bad, since = found
    return Bad(
        run=nights[bad].run,
        started_at=nights[bad].started_at,
        reason=points[bad].reason,
        since="" if since is None else nights[since].run,
        changed=[] if since is None else _changed(key, nights[bad], nights[since]),
    )


def _changed(key: _Key, night: Night, before: Night) -> list[str]:
    layout, arm, job, _ = key
    now, then = night.facts_of(layout, arm), before.facts_of(layout, arm)
    if now is None or then is None:
        return ["what one of the two nights ran with is not known"]
    return changes(now, then, job)
