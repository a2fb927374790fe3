"""The steps of a night on disk: judge a run against the history, log it, accept it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.gate.model import Verdict
from pipeline.history.baselines import select
from pipeline.history.fingerprint import forbidden_changes, named
from pipeline.history.judge import Rules, judge_night
from pipeline.history.model import Acceptance, CellValue, Night, NightJudgement
from pipeline.history.night import Tonight, means_of, read_night
from pipeline.history.store import History
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError

_SHOWN = 3


def refusals(tonight: Tonight, against: NightJudgement, pin: str) -> list[str]:
    """Why a run may not become a baseline; empty if it may.

    A pinned baseline may differ from the nights before it, since a deliberate change is what it is
    made for; what is wrong with the run itself holds for it, too.

    Args:
        tonight: The run.
        against: What the nights accepted before it say of it.
        pin: The pin's name; "" for a rolling baseline.
    """
    problems = [*_records(tonight), *_own(tonight)]
    if pin:
        return problems
    if not against.pin:
        problems.append("there is no pinned baseline yet; the first is made with --pin NAME")
        return problems
    checks = against.checks
    for word, found in (
        ("regressed", [c for c in checks if c.verdict is Verdict.REGRESSED]),
        ("incomparable", [c for c in checks if c.verdict is Verdict.MISSING]),
        # Else a real step that one night cannot establish would move the baseline towards itself.
        (
            "undecided and worse than the margin",
            [c for c in checks if c.verdict is Verdict.INCONCLUSIVE and c.beyond],
        ),
    ):
        if found:
            told = "; ".join(
                f"{c.arm} on {c.layout}, {c.job} {c.metric} ({c.baseline}): {c.reason}"
                for c in found[:_SHOWN]
            )
            problems.append(
                f"{word} against the accepted nights: {told}. Where this change is meant, give it "
                "a pinned baseline of its own: --pin NAME"
            )
    return problems


def _records(tonight: Tonight) -> list[str]:
    """Failed, invalid and incomplete runs; what this machine cannot run at all is no gap."""
    problems: list[str] = []
    for row in tonight.report.judgement.rows:
        bad = [p for p in row.records.problems if p.status != "unsupported"]
        if not bad:
            continue
        counts = Counter(problem.status for problem in bad)
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        problems.append(
            f"{row.arm} on {row.layout}: {told} of {row.records.planned} records, "
            f"{bad[0].cell}: {bad[0].reason}"
        )
    gaps = [facts for facts in tonight.night.facts if facts.gap]
    supported = {
        (row.layout, row.arm)
        for row in tonight.report.judgement.rows
        if row.verdict is not Verdict.UNSUPPORTED
    }
    problems += [
        f"{facts.arm} on {facts.layout}: what it ran with is not known ({facts.gap}), so no later "
        "night could be compared with it"
        for facts in gaps
        if (facts.layout, facts.arm) in supported
    ]
    return problems


def _own(tonight: Tonight) -> list[str]:
    judgement = tonight.report.judgement
    if not any(cell.gated and cell.value is not None for cell in tonight.night.cells):
        return ["nothing that a gate names was measured"]
    alone = len(tonight.report.plan.arms) == 1 and judgement.verdict is Verdict.MISSING
    if judgement.verdict is Verdict.REGRESSED or (
        judgement.verdict is Verdict.MISSING and not alone
    ):
        word = "regressed" if judgement.verdict is Verdict.REGRESSED else "incomparable or missing"
        return [f"its own gate says {word}: {judgement.reason}"]
    return []


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
