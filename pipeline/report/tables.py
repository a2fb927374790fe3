"""The report's main table as data: one row a layout and arm, one column a job and metric."""

from __future__ import annotations

from dataclasses import dataclass

from evals.metrics import METRICS
from pipeline.gate.itl_breakdown import Closure, Part
from pipeline.gate.logprobs import SHIFT
from pipeline.gate.model import Check, Judgement, Row, Verdict
from pipeline.plan.model import Plan
from pipeline.report.loads import swept_jobs
from pipeline.report.model import Report
from pipeline.report.text import bounds_text, estimate_text, value_text


@dataclass(frozen=True, kw_only=True)
class ClosureLine:
    """One closure row as texts.

    Attributes:
        layout: The layout's name.
        arm: The arm.
        jobs: The latency job and the job of traces.
        changes: Of ITL, communication, other kernels, gaps, and what is left unexplained; empty
            where there is no row.
        warning: Kernels that are too good; "" for none.
        missing: Why there is no row; "" where there is one.
    """

    layout: str
    arm: str
    jobs: str
    changes: list[str]
    warning: str
    missing: str


def closure_lines(judgement: Judgement) -> list[ClosureLine]:
    """One for each closure row of the run."""
    return [
        ClosureLine(
            layout=str(one.layout),
            arm=one.arm,
            jobs=f"{one.job} by {one.traced}",
            changes=[_change(part) for part in _parts(one)],
            warning=_warning(one),
            missing=one.missing,
        )
        for one in judgement.closures
    ]


def closure_texts(judgement: Judgement) -> list[str]:
    """The same as one plain line each, for a terminal."""
    found: list[str] = []
    for one, line in zip(judgement.closures, closure_lines(judgement), strict=True):
        where = f"{line.arm} on {line.layout}, {line.jobs}"
        if line.missing:
            found.append(f"{where}: what ITL is made of is not known: {line.missing}")
            continue
        told = [f"{part.name} {text}" for part, text in zip(_parts(one), line.changes, strict=True)]
        warning = f"; {line.warning}" if line.warning else ""
        found.append(f"{where}: {told[0]} = {' + '.join(told[1:])}{warning}")
    return found


def _parts(one: Closure) -> list[Part]:
    return [part for part in (one.itl, *one.parts, one.unexplained) if part is not None]


def _change(part: Part) -> str:
    text = f"{part.change_ms:+.3f} ms"
    if part.interval is None:
        return f"{text} (no interval)"
    return f"{text} [{part.interval[0]:+.3f}, {part.interval[1]:+.3f}]"


def _warning(one: Closure) -> str:
    if not one.too_good:
        return ""
    first = one.too_good[0]
    more = f" and {len(one.too_good) - 1} more" if len(one.too_good) > 1 else ""
    return (
        f"too good: {first.kernel} {first.reference_ms:.4g} ms to {first.arm_ms:.4g} ms{more}, "
        "although nothing should have changed it"
    )


def bought_text(plan: Plan, judgement: Judgement) -> str:
    """How many launches were bought beyond the planned ones; "" where none may be."""
    if plan.sequential is None:
        return ""
    took = sum(one.launches for one in judgement.bought)
    possible = sum(one.possible for one in judgement.bought)
    each = ", ".join(
        f"{one.launches} of {one.arm} on {one.layout}" for one in judgement.bought if one.launches
    )
    told = f": {each}" if each else ""
    return (
        f"Launches bought because a gated speed was undecided: {took} of the {possible} that "
        f"sequential.max_launches {plan.sequential.max_launches} allows{told}. The others were not "
        "needed."
    )


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


# A verdict is never told by its colour alone.
MARKS = {
    Verdict.PASS: "✓",
    Verdict.REGRESSED: "✗",
    Verdict.IMPROVED: "▲",
    Verdict.INCONCLUSIVE: "?",
    Verdict.MISSING: "∅",
    Verdict.UNSUPPORTED: "⊘",
}

_COMPARED_AS = {"fraction": "difference", "shift": "shift", "ratio": "ratio"}

# What the main table shows besides everything that is gated.
_SHOWN = ("score", "median_itl_ms", "median_ttft_ms", "output_throughput")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of one job."""

    job: str
    metric: str
    label: str
    compared_as: str


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What the table says of one metric of one row."""

    value: str
    interval: str
    compared: str
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table."""

    row: Row
    slots: list[Slot]
    records: str

    @property
    def layout(self) -> str:
        """The layout's name, to group by."""
        return str(self.row.layout)


def columns(report: Report) -> list[Column]:
    """Columns in the order of jobs and of the table of metrics.

    Points of a sweep have a table of their own, so only what is gated of them stands here, too.
    """
    rows = report.judgement.rows
    present = {(one.job, one.metric) for row in rows for one in row.measured}
    swept = {job for names in swept_jobs(report.plan) for job in names}
    gated = {(job, metric) for job, gates in report.plan.gates.items() for metric in gates}
    return [
        Column(
            job=job,
            metric=name,
            label=f"{job} {metric.label}",
            compared_as=_COMPARED_AS[metric.compared_as],
        )
        for job in report.plan.jobs
        for name, metric in METRICS.items()
        if (job, name) in gated
        or ((job, name) in present and name in _SHOWN and job not in swept)
        or (name == SHIFT and report.plan.jobs[job]["kind"] == "logprobs")
    ]


def lines(report: Report) -> list[Line]:
    """The table's rows, in the judgement's order."""
    wanted = columns(report)
    return [
        Line(
            row=row,
            slots=[_slot(row, column) for column in wanted],
            records=records_text(row),
        )
        for row in report.judgement.rows
    ]


def _slot(row: Row, column: Column) -> Slot:
    key = (column.job, column.metric)
    measured = next((one for one in row.measured if (one.job, one.metric) == key), None)
    check = _comparison(row, column)
    compared = check is not None and check.estimate is not None
    return Slot(
        # A shift has no value of its own, only one against the reference.
        value=""
        if measured is None and compared
        else value_text(column.metric, None if measured is None else measured.value),
        interval="" if measured is None else bounds_text(measured),
        compared="" if check is None or check.estimate is None else estimate_text(check),
        verdict=None if check is None else check.verdict,
    )


def _comparison(row: Row, column: Column) -> Check | None:
    for check in row.checks:
        if (check.job, check.metric, check.against) == (column.job, column.metric, "reference"):
            return check
    return None


def records_text(row: Row) -> str:
    """``4 of 4 ok``, and what the others are."""
    counts = row.records.counts
    rest = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "ok")
    text = f"{counts.get('ok', 0)} of {row.records.planned} ok"
    return f"{text}, {rest}" if rest else text
