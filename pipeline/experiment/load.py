"""From an experiment file to a valid experiment, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import (
    ValidationError,
)

from evals import JOBS
from evals.accuracy.data import data_file
from evals.accuracy.job import AccuracySettings
from evals.files import DataError
from evals.job import JobSettings
from evals.latency.job import LatencySettings, never_measured
from evals.metrics import METRICS
from launchers.fake_engine.settings import FakeSettings
from pipeline.experiment.errors import describe
from pipeline.experiment.gates import followed
from pipeline.experiment.limits import launch_problems, quarantine_problems
from pipeline.experiment.model import Experiment
from pipeline.experiment.serving import EngineSpec
from pipeline.experiment.yaml_source import SourceError, apply_overrides, load_file
from pipeline.records.finite import not_finite

__all__ = ["SpecError", "cross_check", "load_experiment"]


class SpecError(SourceError):
    """The experiment file says something that servegate cannot run; ``problems`` lists it all."""


def load_experiment(
    path: Path, overrides: Sequence[str] = (), *, engine: str | None = None
) -> Experiment:
    """Read, merge, override and validate one experiment file.

    Relative data files are taken from the experiment file's own folder.

    Args:
        path: The YAML file.
        overrides: ``key.path=value`` settings of the command line, applied in order.
        engine: ``"fake"`` or ``"sglang"`` in place of what the file says.

    Raises:
        SpecError: With every problem found, each ``file: key.path: what, and what is allowed``.
    """
    try:
        data = apply_overrides(load_file(path), overrides)
    except SourceError as error:
        raise SpecError(error.problems) from error
    if engine is not None:
        data = apply_overrides(data, [f"engine.name={engine}"])
    if wrong := [f"{path}: {text}; give a finite number" for text in not_finite(data)]:
        raise SpecError(wrong)
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        raise SpecError([f"{path}: {text}" for text in describe(Experiment, error)]) from error
    experiment = _with_resolved_files(experiment, path.parent)
    problems = [f"{path}: {text}" for text in cross_check(experiment)]
    if problems:
        raise SpecError(problems)
    return experiment


def _with_resolved_files(experiment: Experiment, base: Path) -> Experiment:
    jobs = {
        name: JOBS[settings.kind].resolve(settings, base.resolve())
        for name, settings in experiment.jobs.items()
    }
    return experiment.model_copy(update={"jobs": jobs, "engine": _knowing(experiment.engine, jobs)})


def _knowing(engine: EngineSpec, jobs: dict[str, JobSettings]) -> EngineSpec:
    """The fake engine with the local questions of all jobs, so that it has answers to them."""
    files: list[str] = []
    for job in jobs.values():
        if isinstance(job, AccuracySettings) and job.data is not None:
            try:
                files.append(str(data_file(Path(job.data))))
            except DataError:
                continue  # the job's own check says what is wrong with it
    if engine.name != "fake" or "answers_file" in engine.fake or not files:
        return engine
    return engine.model_copy(
        update={"fake": {**engine.fake, "answers_file": list(dict.fromkeys(files))}}
    )


def cross_check(experiment: Experiment) -> list[str]:
    """Problems between keys, and in the files that jobs name; ``key.path: what``."""
    problems: list[str] = []
    if experiment.reference not in experiment.arms:
        problems.append(
            f"reference: {experiment.reference!r} is no arm; arms: {', '.join(experiment.arms)}"
        )
    for name in experiment.baselines:
        if name not in experiment.arms:
            problems.append(f"baselines: {name!r} is no arm; arms: {', '.join(experiment.arms)}")
        elif name == experiment.reference or experiment.baselines.count(name) > 1:
            problems.append(
                f"baselines: {name!r} stands there already; the reference is always a baseline"
            )
    problems += _sequential_problems(experiment)
    seen: set[tuple[int, int, int, int]] = set()
    for index, layout in enumerate(experiment.layouts):
        for dp in layout.attention_dp:
            key = (layout.tp, dp, layout.ep, layout.nodes)
            if key in seen:
                problems.append(f"layouts.{index}: tp {layout.tp}, attention_dp {dp} stands twice")
            seen.add(key)
    for name, settings in experiment.jobs.items():
        alone = JOBS[settings.kind].alone
        if not alone and (settings.launches or 0) > experiment.launches:
            problems.append(
                f"jobs.{name}.launches: {settings.launches} is more than launches, "
                f"{experiment.launches}"
            )
        problems += [f"jobs.{name}.{text}" for text in JOBS[settings.kind].check(settings)]
        problems += [f"jobs.{name}.stages: {text}" for text in _stage_problems(experiment, name)]
    return [
        *problems,
        *launch_problems(experiment),
        *_gate_problems(experiment),
        *quarantine_problems(experiment),
        *_fake_problems(experiment),
    ]


def _sequential_problems(experiment: Experiment) -> list[str]:
    """Why no further launches can be bought."""
    asked = experiment.sequential
    if asked is None:
        return []
    problems: list[str] = []
    if asked.max_launches <= experiment.launches:
        problems.append(
            f"sequential.max_launches: {asked.max_launches} leaves nothing to buy beyond launches, "
            f"{experiment.launches}; raise it, or leave sequential out"
        )
    if not any(job in experiment.gates for job in followed(experiment.jobs)):
        problems.append(
            "sequential: buys launches while a gated speed is undecided, and no latency job that "
            "runs on every launch has a gate; set one, or leave sequential out"
        )
    return problems


def _stage_problems(experiment: Experiment, name: str) -> list[str]:
    """Why a job cannot be asked in stages."""
    job = experiment.jobs[name]
    if not isinstance(job, AccuracySettings) or job.stages == 1:
        return []
    problems: list[str] = []
    if (experiment.launches if job.launches is None else job.launches) > 1:
        problems.append(
            "a job in stages ends on the launch on which it began; set launches of the job to 1, "
            "or stages to 1"
        )
    if not any(
        METRICS[metric].compared_as == "fraction" for metric in experiment.gates.get(name, {})
    ):
        problems.append(
            f"stops when the gates of {name} are decided, and it has none on a score or a rate; "
            "set one, or stages to 1"
        )
    return problems


def _gate_problems(experiment: Experiment) -> list[str]:
    problems: list[str] = []
    for job, gates in experiment.gates.items():
        if job not in experiment.jobs:
            problems.append(f"gates.{job}: is no job; jobs: {', '.join(experiment.jobs)}")
            continue
        settings = experiment.jobs[job]
        allowed = JOBS[settings.kind].gated
        never = never_measured(settings) if isinstance(settings, LatencySettings) else {}
        for metric, gate in gates.items():
            if metric not in allowed:
                problems.append(
                    f"gates.{job}.{metric}: cannot be gated; possible: {', '.join(allowed)}"
                )
            elif metric in never:
                problems.append(f"gates.{job}.{metric}: {never[metric]}")
            elif gate.floor is not None and METRICS[metric].compared_as != "fraction":
                problems.append(f"gates.{job}.{metric}.floor: only a score has a floor")
            elif gate.floor is not None and not 0 < gate.floor < 1:
                problems.append(
                    f"gates.{job}.{metric}.floor: {gate.floor:g} decides nothing, since a score "
                    "lies between 0 and 1; give a fraction, 0.85 for 85 %"
                )
    return problems


def _fake_problems(experiment: Experiment) -> list[str]:
    problems: list[str] = []
    blocks = {"engine.fake": experiment.engine.fake}
    blocks |= {f"arms.{name}.fake": arm.fake for name, arm in experiment.arms.items()}
    for where, block in blocks.items():
        try:
            FakeSettings.model_validate(block)
        except ValidationError as error:
            problems += [f"{where}.{text}" for text in describe(FakeSettings, error)]
    return problems
