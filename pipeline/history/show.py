"""The history on a terminal: a table and a plot for each line, and what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from evals.metrics import METRICS
from pipeline.gate.model import Verdict
from pipeline.history.fingerprint import named
from pipeline.history.judge import check_name
from pipeline.history.model import Acceptance, NightJudgement
from pipeline.history.series import Bad, Change, Line, Point, make_lines, otava_missing, shifts
from pipeline.history.store import History
from pipeline.records.record import RecordError
from pipeline.report.tables import MARKS
from pipeline.report.text import value_text


def judgement_lines(judgement: NightJudgement) -> Iterator[str]:
    """Every check that is no pass, and what changed where something is worse; then the verdict."""
    for check in judgement.checks:
        if check.verdict is Verdict.PASS:
            continue
        aside = f"{check.quarantine}: found " if check.quarantine else ""
        yield (
            f"{MARKS[check.verdict]} {aside}{check.verdict.value}: {check_name(check)}: "
            f"{check.reason}"
        )
        if check.verdict is Verdict.REGRESSED and check.changed:
            yield f"    changed since {check.nights[-1]}: {named(check.changed)}"
    passed = sum(check.verdict is Verdict.PASS for check in judgement.checks)
    yield f"{passed} of {len(judgement.checks)} checks against the accepted nights pass"
    unpaired = [check for check in judgement.checks if check.unpaired]
    if unpaired:
        yield (
            f"note: {len(unpaired)} checks hold scores against scores, since the answers of the "
            "baseline are not kept; paired ones need fewer questions"
        )
    yield f"{judgement.reason}"


# Columns of a plot; a bar from the least to the largest launch, or the interval of a score.
_PLOT = 40


class Shown(BaseModel):
    """One experiment's history, as far as it was asked for; ``runs`` names nights by number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: str
    nights: int
    acceptances: list[Acceptance]
    runs: dict[int, str]
    lines: list[Line]


def read_history(
    history: History, metrics: list[str], experiment: str | None, last: int
) -> list[Shown]:
    """Read the asked lines of one experiment or of all, with the last nights of each.

    Raises:
        RecordError: The file cannot be read, or has no such experiment or metric.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise RecordError(f"no metric {', '.join(unknown)}; there are: {', '.join(METRICS)}")
    names = history.experiments()
    if experiment is not None and experiment not in names:
        raise RecordError(
            f"{history.path}: no night of {experiment}; there are: {', '.join(names) or 'none'}"
        )
    why = otava_missing()
    found: list[Shown] = []
    for name in names if experiment is None else [experiment]:
        nights = history.nights(name)[-last:]
        acceptances = history.acceptances(name)
        lines = make_lines(
            nights, acceptances, history.judgements(name), metrics, None if why else shifts, why
        )
        found.append(
            Shown(
                experiment=name,
                nights=len(nights),
                acceptances=acceptances,
                runs={night.id: night.run for night in history.nights(name)},
                lines=lines,
            )
        )
    return found


def document(shown: list[Shown]) -> str:
    """One JSON document; fractions in [0, 1], everything else in its metric's unit."""
    return json.dumps(
        {"schema_version": 1, "experiments": [one.model_dump(mode="json") for one in shown]},
        indent=2,
        ensure_ascii=False,
    )


def show_history(shown: list[Shown], out: Console) -> None:
    """Print every line: nights with their verdicts and a plot, then what changed."""
    console = Console(file=out.file, width=None if out.is_terminal else 140, highlight=False)
    for one in shown:
        console.print(f"{one.experiment}: {one.nights} nights", markup=False)
        for line in one.lines:
            console.print(_table(line))
            if line.first_bad is not None:
                out.print(f"  {bad_text(line.first_bad)}", markup=False)
            for change in line.changes:
                out.print(f"  {change_text(line.metric, change)}", markup=False)
            if line.drift:
                out.print(f"  note: {line.drift}", markup=False)
        for accepted in one.acceptances:
            kind = f"pinned as {accepted.pin}" if accepted.pin else "rolling"
            out.print(
                f"  accepted {accepted.accepted_at[:16]} by {accepted.accepted_by}, {kind}: "
                f"{one.runs.get(accepted.night, accepted.night)}, {accepted.reason}",
                markup=False,
            )
            if accepted.withdrawn:
                out.print(
                    f"    withdrawn {accepted.withdrawn_at[:16]} by {accepted.withdrawn_by}: "
                    f"{accepted.withdrawn}",
                    markup=False,
                )


def bad_text(bad: Bad) -> str:
    """The first bad night in a sentence, with what changed since the last good one."""
    if not bad.since:
        return f"first bad night: {bad.run}; no night before it was good"
    what = named(bad.changed) or "nothing that the history knows of"
    return f"first bad night: {bad.run} ({bad.reason}); changed since {bad.since}: {what}"


def change_text(metric: str, change: Change) -> str:
    """A change of level in a sentence."""
    word = "worse" if change.harm else "better"
    if METRICS[metric].better == "neither":
        word = "changed"
    size = (
        f"{100 * change.relative:+.2f} points"
        if METRICS[metric].compared_as == "fraction"
        else f"{100 * change.relative:+.1f} %"
    )
    what = named(change.changed) or "nothing that the history knows of"
    return f"level {word} from {change.run} on: {size}; changed since {change.since}: {what}"


def _table(line: Line) -> Table:
    table = Table(title=line.name, title_justify="left", box=None, pad_edge=False)
    for name in ("night", "value", "verdict", "baseline", ""):
        table.add_column(name, no_wrap=True, justify="right" if name == "value" else "left")
    spans = [_span(point) for point in line.points]
    known = [span for span in spans if span is not None]
    low = min((span[0] for span in known), default=0.0)
    high = max((span[1] for span in known), default=1.0)
    room = max(high - low, 0.04 * abs(high), 1e-9)  # noise of a per mille must not look large
    for point, span in zip(line.points, spans, strict=True):
        table.add_row(
            point.started_at[:16],
            value_text(line.metric, point.value),
            "" if point.verdict is None else f"{MARKS[point.verdict]} {point.verdict.value}",
            point.pin or ("accepted" if point.accepted else ""),
            "" if span is None else _bar(span, low, room),
        )
    return table


def _span(point: Point) -> tuple[float, float] | None:
    if point.value is None:
        return None
    if point.interval is not None:
        return point.interval
    values = [*point.launches, point.value]
    return min(values), max(values)


def _bar(span: tuple[float, float], low: float, room: float) -> Bar:
    begin, end = ((side - low) / room for side in span)
    least = 0.5 / _PLOT
    return Bar(1 + 2 * least, begin, max(end, begin + least), width=_PLOT)
