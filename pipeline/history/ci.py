"""What a CI system reads of a night that was held against the accepted ones; pure."""

from __future__ import annotations

from collections.abc import Sequence

from evals.metrics import METRICS
from pipeline.gate.model import Judgement
from pipeline.history.judge import check_name
from pipeline.history.model import NightCheck, NightJudgement
from pipeline.history.show import judgement_lines
from pipeline.report.ci import COMMANDS, MOST, Case, command, document, own_suites, suite

__all__ = ["night_annotations", "night_junit", "night_summary"]


def night_junit(night: NightJudgement, own: Judgement, experiment: str) -> str:
    """A suite for each layout of the run's own gate, one for each baseline, and one for the night.

    Args:
        night: What the accepted nights say.
        own: What the run says by itself.
        experiment: Its name.
    """
    names = dict.fromkeys(check.baseline for check in night.checks)
    nights = [
        suite(
            f"{experiment} {name} baseline",
            [_case(check, experiment) for check in night.checks if check.baseline == name],
        )
        for name in names
    ]
    whole = Case("verdict", experiment, night.verdict, night.reason)
    return document([*own_suites(own, experiment), *nights, suite(experiment, [whole])])


def _case(check: NightCheck, experiment: str) -> Case:
    unit = METRICS[check.metric].unit
    name = f"{check.job} {METRICS[check.metric].label}" + (f" ({unit})" if unit else "")
    group = f"{experiment}.{check.layout}.{check.arm}.{check.baseline}"
    return Case(name, group, check.verdict, check.reason, check.quarantine)


def night_annotations(night: NightJudgement, own: Sequence[str]) -> list[str]:
    """Workflow commands: the night's verdict, its checks that are no pass, then the run's own.

    GitHub shows ten of a kind, so the night, whose verdict is the exit code, comes first.

    Args:
        night: What the accepted nights say.
        own: Those of the run by itself.
    """
    made: list[tuple[str, str]] = []
    if (kind := COMMANDS.get(night.verdict)) is not None:
        title = f"servegate, against the accepted nights: {night.verdict.value}"
        made.append((kind, command(kind, title, night.reason)))
    for check in night.checks:
        kind = "notice" if check.quarantine else COMMANDS.get(check.verdict)
        if kind is not None:
            aside = "quarantined, " if check.quarantine else ""
            title = f"{check_name(check)}: {aside}{check.verdict.value}"
            reason = f"{check.quarantine}\n{check.reason}" if check.quarantine else check.reason
            made.append((kind, command(kind, title, reason)))
    made += [(line.split(" ", 1)[0].removeprefix("::"), line) for line in own]
    counts: dict[str, int] = {}
    shown = []
    for kind, line in made:
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= MOST:
            shown.append(line)
    return shown


def night_summary(night: NightJudgement) -> str:
    """The head of the step's summary, before that of the run's own report."""
    lines = "\n".join(f"- {line}" for line in judgement_lines(night))
    return (
        f"# {night.experiment}, against the accepted nights: {night.verdict.value}\n\n{lines}\n\n"
    )
