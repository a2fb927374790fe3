"""The steps of a night on disk: judge a run against the history, log it, accept it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.history.accept import refusals
from pipeline.history.baselines import select
from pipeline.history.entry import Tonight, means_of, read_night
from pipeline.history.judge import Rules, judge_night
from pipeline.history.model import Acceptance, CellValue, Night, NightJudgement
from pipeline.history.store import History
from pipeline.records import RecordError
from pipeline.run_folder import RunFolder

__all__ = ["NotAccepted", "accept_run", "default_history", "judge_run"]


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


def accept_run(
    folder: RunFolder, history: History, rules: Rules, *, pin: str, reason: str, who: str
) -> Acceptance:
    """Make a run a baseline, pinned where ``pin`` names it; logged, never undone.

    Raises:
        NotAccepted: It may not become one.
        RecordError: The run or the history cannot be read, or it is one already.
    """
    tonight = read_night(folder, history)
    problems = refusals(tonight, _judged(tonight, history, rules, None), pin)
    if not reason.strip():
        problems = ["a reason is needed: whoever reads the history has nothing else", *problems]
    if problems:
        raise NotAccepted(problems)
    return history.accept(history.add_night(tonight.night), pin, reason.strip(), who)


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
