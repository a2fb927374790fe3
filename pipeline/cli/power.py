"""`servegate power`: reads what it needs from files and prints the statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console

from pipeline import exit_codes
from pipeline.cli.console import endings, say, stderr, stdout
from pipeline.cli.options import AsJson, ExperimentFile, Overrides, VarianceFrom
from pipeline.experiment.load import load_experiment
from pipeline.experiment.local_data import counted_questions
from pipeline.experiment.model import Experiment
from pipeline.power import (
    JobBasis,
    OperatingPoint,
    PowerStatement,
    ScorePower,
    SpeedPower,
    measured_basis,
    mode_lines,
    power_statement,
)
from pipeline.records.folder import RunFolder
from pipeline.records.record import read_answers

__all__ = ["known_basis", "power"]


def power(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    variance_from: VarianceFrom = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say what an experiment can find and pass, and what it costs, before it runs.

    Exit code 3 where a gate can never fire or never pass. Example: servegate power
    experiments/qwen3.5-mixedcomm-accuracy.yaml --set jobs.gsm8k.examples=null
    """
    with endings():
        spec = load_experiment(experiment, overrides if overrides is not None else ())
        basis, notes = known_basis(spec, variance_from)
        say("simulating what the gates can find")
        found = power_statement(spec, basis)
        if as_json:
            print(found.model_dump_json(indent=2))
        else:
            _show_power(found, stdout())
        for note in notes:
            stderr().print(f"note: {note}", markup=False)
        raise typer.Exit(exit_codes.CANNOT_VOUCH if found.impossible else exit_codes.PASS)


def known_basis(
    experiment: Experiment, run: Path | None
) -> tuple[Mapping[str, JobBasis], list[str]]:
    """What is known of each job before an experiment runs, and of which jobs nothing is.

    Args:
        experiment: The experiment.
        run: A run to take variances, tokens and pace from; None: they are assumed.

    Raises:
        pipeline.records.record.RecordError: The run cannot be read.
    """
    basis: dict[str, JobBasis] = {}
    notes: list[str] = []
    if run is not None:
        basis = _measured(RunFolder(run), experiment)
        notes += [
            f"the run has nothing to say of job {job!r}; it is assumed"
            for job in experiment.gates
            if job not in basis
        ]
    for name, count in counted_questions(experiment).items():
        basis[name] = replace(basis.get(name, JobBasis()), questions=count)
    return basis, notes


def _measured(folder: RunFolder, experiment: Experiment) -> dict[str, JobBasis]:
    """What the run says of the experiment's jobs: those of the same name, kind and benchmark.

    How launches of a machine differ is worth knowing under another load, too: a latency job that
    the run lacks has the spreads of the run's own one, if it has only one.
    """
    plan = folder.load_plan()
    found = measured_basis(
        plan,
        folder.records(plan),
        lambda record: read_answers(folder.launch(record.launch).cell(record.job).root),
    )
    loads = [name for name in found if plan.jobs[name]["kind"] == "latency"]
    basis: dict[str, JobBasis] = {}
    for name, job in experiment.jobs.items():
        theirs = plan.jobs.get(name, {})
        benchmark = getattr(job, "benchmark", None)
        if name in found and (theirs["kind"], theirs.get("benchmark")) == (job.kind, benchmark):
            # How many questions that run asked says nothing of how many this experiment will.
            basis[name] = replace(found[name], questions=None)
        elif job.kind == "latency" and len(loads) == 1:
            other = found[loads[0]]
            source = f"{other.source}, under the load of its job {loads[0]}"
            basis[name] = replace(other, source=source)
    return basis


def _show_power(found: PowerStatement, out: Console) -> None:
    """Print the statement for a person."""

    def line(text: str = "") -> None:
        out.print(text, markup=False)

    line(f"{found.experiment}: alpha {found.alpha:g} a side, found means {found.power:.0%} chance")
    for score in found.scores:
        line()
        _show(out, score.job, score.metric, _score_lines(score, found.power))
    for speed in found.speeds:
        line()
        _show(out, speed.job, speed.metric, _speed_lines(speed, found.power, found.alpha))
    if found.costs:
        line()
        line("cost, estimated:")
        for cost in found.costs:
            hours = "unknown" if cost.gpu_hours is None else f"{cost.gpu_hours:.3g} GPU hours"
            line(f"  {cost.job}: {hours} ({cost.told})")
        if found.gpu_hours is not None:
            line(f"  together: {found.gpu_hours:.3g} GPU hours")
    for text in found.not_estimated:
        line(f"not estimated: {text}")
    for text in found.impossible:
        line(f"impossible: {text}")


def _show(out: Console, job: str, metric: str, lines: list[str]) -> None:
    out.print(f"{job} {metric}", style="bold", markup=False)
    for text in lines:
        out.print(f"  {text}", markup=False)


def _score_lines(score: ScorePower, power: float) -> list[str]:
    samples = (
        "no number up to 256 of each does"
        if score.samples_needed is None
        else f"{score.samples_needed} of each"
    )
    asked = f"{score.questions} questions, each asked {score.samples} x in each arm"
    basis = f"score {score.score:.3g}, variance in a question {score.within:.2g} ({score.source})"
    found = (
        "no drop is found"
        if score.smallest_drop is None
        else f"a drop of {100 * score.smallest_drop:.2g} points is found"
    )
    needed = (
        f"about {score.questions_needed} questions; with {score.questions} questions, {samples}"
    )
    return [
        f"{asked}, margin {100 * score.margin:g} points; {basis}",
        f"an arm without any difference passes with {score.pass_chance:.0%}, in each comparison",
        *_staged_lines(score),
        f"{found} with {power:.0%}, as one of {score.alarms} comparisons",
        f"a loss of the margin confined to a few questions is missed with {score.unseen:.1%}",
        f"to pass an equal arm with {power:.0%}: asked {score.samples} x, {needed}",
        *_operating_lines("", score.operating),
        *_operating_lines(f" in {score.stages} stages", score.staged_operating or []),
    ]


def _operating_lines(how: str, points: Sequence[OperatingPoint]) -> list[str]:
    """A table of what becomes of true losses; no lines for no points."""
    if not points:
        return []
    rows = {
        "true loss, in margins": [f"{point.margins:g}" for point in points],
        "pass": [f"{point.passes:.0%}" for point in points],
        "regressed": [f"{point.regressed:.0%}" for point in points],
        "inconclusive": [f"{point.inconclusive:.0%}" for point in points],
        "questions asked": [f"{point.asked:.0%}" for point in points],
    }
    if not how:
        del rows["questions asked"]
    return [
        f"verdicts by true loss, spread over all questions{how}:",
        *(f"  {name:<22}" + "".join(f"{text:>6}" for text in row) for name, row in rows.items()),
    ]


def _staged_lines(score: ScorePower) -> list[str]:
    if score.staged_pass_chance is None or score.staged_share is None:
        return []
    passes = f"an equal arm passes with {score.staged_pass_chance:.0%}"
    asked = f"is asked {score.staged_share:.0%} of the questions, the reference all"
    return [f"in {score.stages} stages: {passes} and {asked}"]


def _speed_lines(speed: SpeedPower, power: float, alpha: float) -> list[str]:
    asked = f"{speed.launches} launches an arm, margin {100 * speed.margin:g} %"
    basis = f"spread of a difference {100 * speed.spread:.2g} % ({speed.source})"
    found = (
        "no change up to a factor of four is found"
        if speed.smallest_change is None
        else f"a change of {100 * speed.smallest_change:.2g} % to the worse is found"
    )
    needed = "more than 200" if speed.launches_needed is None else str(speed.launches_needed)
    return [
        f"{asked}; {basis}",
        f"an arm that is just as fast passes with {speed.pass_chance:.0%}, in each comparison",
        f"{found} with {power:.0%}, as one of {speed.alarms} comparisons",
        f"the signs of {speed.launches} blocks alone give no p below {speed.smallest_p:.2g}",
        f"to pass an arm that is just as fast with {power:.0%}: {needed} launches",
        *mode_lines(speed, alpha),
    ]
