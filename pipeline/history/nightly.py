"""The steps of a night on disk: judge a run against the history, log it, accept it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.history.accept import refusals
from pipeline.history.baselines import select
from pipeline.history.entry import Tonight, means_of, read_night
from pipeline.history.judge import Rules, judge_night
from pipeline.history.model import Acceptance, CellValue, Night, NightJudgement
from pipeline.history.provenance import forbidden_changes, named
from pipeline.history.store import History
from pipeline.records import RecordError
from pipeline.run_folder import RunFolder

__all__ = ["NotAccepted", "accept_runs", "default_history", "judge_run"]


class NotAccepted(RuntimeError):
    """A run may not become a baseline; ``problems`` say why."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def default_history(run: Path) -> Path:
    """``history.sqlite`` beside the experiments' folders of runs."""
    return run.resolve().parent.parent / "history.sqlite"


def judge_run(
    folder: RunFolder, history: History, rules: Rules, *, pin: str | None = None
) -> NightJudgement:
    """Judge a run against the nights accepted before it, and log the night and the judgement.

    Raises:
        RecordError: The run or the history cannot be read, or no pin has the asked name.
    """
    tonight = read_night(folder, history)
    judgement = _judged(tonight, history, rules, pin)
    history.add_judgement(history.add_night(tonight.night), judgement)
    return judgement


def accept_runs(
    folders: Sequence[RunFolder], history: History, rules: Rules, *, pin: str, reason: str, who: str
) -> list[Acceptance]:
    """Make a run a baseline, or several together one pinned baseline; logged, never undone.

    Raises:
        NotAccepted: One of them may not become one; then none does.
        RecordError: A run or the history cannot be read, or is one already.
    """
    problems = [] if reason.strip() else ["a reason is needed: later readers have nothing else"]
    if len(folders) > 1 and not pin:
        problems.append("several runs make one pinned baseline only: --pin NAME")
    tonights = [read_night(folder, history) for folder in folders]
    if len({tonight.night.experiment for tonight in tonights}) > 1:
        problems.append("runs of several experiments make no baseline")
    for tonight in tonights:
        problems += refusals(tonight, _judged(tonight, history, rules, None), pin)
        problems += _unlike(tonights[0].night, tonight.night, rules)
    if problems:
        raise NotAccepted(problems)
    nights = [history.add_night(tonight.night) for tonight in tonights]
    return history.accept(nights, pin, reason.strip(), who)


def _unlike(first: Night, other: Night, rules: Rules) -> list[str]:
    """Runs of one pinned baseline must be comparable with each other."""
    return [
        f"{other.run} and {first.run} are not comparable, {facts.arm} on {facts.layout}: "
        f"{named(differing)}"
        for facts in other.facts
        if (then := first.facts_of(facts.layout, facts.arm)) is not None
        for job in {cell.job for cell in other.cells if cell.gated}
        if (differing := forbidden_changes(facts, then, job, rules.may_change))
    ]


def _judged(tonight: Tonight, history: History, rules: Rules, pin: str | None) -> NightJudgement:
    experiment = tonight.night.experiment
    acceptances = history.acceptances(experiment)
    if pin is not None and pin not in {accepted.pin for accepted in acceptances if accepted.pin}:
        names = sorted({accepted.pin for accepted in acceptances if accepted.pin})
        raise RecordError(
            f"{history.path}: no pinned baseline {pin!r} of {experiment}; there are: "
            f"{', '.join(names) or 'none'}"
        )
    baselines = select(tonight.night, history.nights(experiment), acceptances, pin=pin)

    def answers(night: Night, cell: CellValue) -> Mapping[str, float] | None:
        return means_of(RunFolder(history.folder_of(night)), cell)

    return judge_night(tonight, baselines, answers, rules)
