"""The steps of a night on disk: judge a run against the history, log it, accept it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.gate.model import Verdict
from pipeline.gate.quarantine import active, without
from pipeline.history.baselines import select
from pipeline.history.fingerprint import forbidden_changes, named
from pipeline.history.judge import Rules, judge_night
from pipeline.history.model import Acceptance, CellValue, Night, NightCheck, NightJudgement
from pipeline.history.night import Tonight, means_of, read_night
from pipeline.history.store import History
from pipeline.plan.model import by_place
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError

_SHOWN = 3

# Of a night that is worse than the margin against a provisional pin, before Holm.
MAY_BE_A_STEP = 0.01


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
    checks = [check for check in against.checks if not check.quarantine]
    for word, found in (
        ("regressed", [c for c in checks if c.verdict is Verdict.REGRESSED]),
        ("incomparable", [c for c in checks if c.verdict is Verdict.MISSING]),
        # Else a real step that one night cannot establish would move the baseline towards itself.
        (
            "undecided and worse than the margin",
            [c for c in checks if c.verdict is Verdict.INCONCLUSIVE and c.beyond and _steps(c)],
        ),
        # A night that is too good is bogus, or a change that later nights must be held against.
        ("better by more than the margin", [c for c in checks if c.ahead]),
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


def _steps(check: NightCheck) -> bool:
    """Whether a night beyond the margin may be a step.

    A provisional pin is mostly noise: where it was a lucky night, ordinary ones lie beyond the
    margin, and refusing all of them would leave a baseline of lucky nights only.
    """
    return not check.provisional or check.p_worse is None or check.p_worse < MAY_BE_A_STEP


def _records(tonight: Tonight) -> list[str]:
    """Failed, invalid and incomplete runs; what this machine cannot run at all is no gap."""
    problems: list[str] = []
    launches = by_place(tonight.report.plan.launches)
    for row in tonight.report.judgement.rows:
        if row.quarantine:
            continue
        aside = active(tonight.report.plan, row.layout, row.arm, tonight.day)
        counting = without(row.records, aside, launches[row.layout, row.arm])
        bad = [p for p in counting.problems if p.status != "unsupported"]
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
        if row.verdict is not Verdict.UNSUPPORTED and not row.quarantine
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
    if not any(
        cell.gated and cell.value is not None and not cell.quarantine
        for cell in tonight.night.cells
    ):
        return ["nothing that a gate names was measured, or all of it is quarantined"]
    counted = [row for row in judgement.rows if not row.quarantine]
    if len(counted) < len(judgement.rows) and all(
        row.verdict in (Verdict.PASS, Verdict.IMPROVED, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED)
        for row in counted
    ):
        return []  # what is left proves nothing of an arm, and is whole all the same
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
    return judged(folder, history, rules, pin=pin)[1]


def judged(
    folder: RunFolder, history: History, rules: Rules, *, pin: str | None = None
) -> tuple[Tonight, NightJudgement]:
    """:func:`judge_run`, with the night that was judged and its run's own report."""
    tonight = read_night(folder, history)
    judgement = _judged(tonight, history, rules, pin)
    history.add_judgement(history.add_night(tonight.night), judgement)
    return tonight, judgement


def accept_runs(
    folders: Sequence[RunFolder], history: History, rules: Rules, *, pin: str, reason: str, who: str
) -> list[Acceptance]:
    """Make a run a baseline, or several together one pinned baseline; logged for good.

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


def withdraw_runs(
    folders: Sequence[Path], history: History, *, reason: str, who: str
) -> list[Acceptance]:
    """Take accepted nights back, by the names of their folders, which may be gone.

    Raises:
        NotAccepted: No reason is given.
        RecordError: One of them is no accepted night; then none is withdrawn.
    """
    if not reason.strip():
        raise NotAccepted(["a reason is needed: later readers have nothing else"])
    nights: list[Night] = []
    for folder in folders:
        name = folder.resolve().name
        known = [
            night
            for experiment in history.experiments()
            for night in history.nights(experiment)
            if night.run == name
            and any(
                accepted.night == night.id and not accepted.withdrawn
                for accepted in history.acceptances(experiment)
            )
        ]
        if not known:
            raise RecordError(f"{history.path}: {name} is no accepted night")
        nights += known
    return [made for night in nights for made in history.withdraw(night, reason.strip(), who)]


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
    names = sorted({one.pin for one in acceptances if one.pin and not one.withdrawn})
    if pin is not None and pin not in names:
        raise RecordError(
            f"{history.path}: no pinned baseline {pin!r} of {experiment}; there are: "
            f"{', '.join(names) or 'none'}"
        )
    baselines = select(tonight.night, history.nights(experiment), acceptances, pin=pin)

    def answers(night: Night, cell: CellValue) -> Mapping[str, float] | None:
        return means_of(RunFolder(history.folder_of(night)), cell)

    return judge_night(tonight, baselines, answers, rules)
