"""From a file on the command line to a plan for this machine, and to a new run folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from launchers.machine.host import EnginePackages, Host, look, mixed_comm_not_built, probe
from launchers.models import prepared_path
from pipeline.experiment.load import load_experiment
from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Plan, PlanModel
from pipeline.preflight.support import marked, unsupported_here
from pipeline.records.folder import RunFolder
from pipeline.records.provenance import gather
from pipeline.records.record import write_json

__all__ = ["create", "for_this_machine", "planned"]


def planned(
    file: Path, overrides: Sequence[str] | None, engine: str | None
) -> tuple[Experiment, Plan]:
    """Read an experiment file and lay it out for this machine.

    Raises:
        pipeline.experiment.load.SpecError: With everything that is wrong with it.
    """
    experiment = load_experiment(file, overrides if overrides is not None else (), engine=engine)
    path = (
        str(prepared_path(experiment.model.prepare))
        if experiment.model.prepare is not None
        else str(experiment.model.path)
    )
    given = experiment.model
    model = PlanModel(
        path=path,
        served_name=given.served_name if given.served_name is not None else path,
        tokenizer=given.tokenizer if given.tokenizer is not None else path,
    )
    python = experiment.engine.python
    cores = len(os.sched_getaffinity(0))
    plan = make_plan(
        experiment,
        model=model,
        python=python if python is not None else sys.executable,
        cores=cores,
    )
    return experiment, plan


def for_this_machine(plan: Plan, runs: Path, environ: Mapping[str, str]) -> Plan:
    """The plan with every launch marked that this machine cannot run, before anything starts."""
    if plan.engine == "fake":
        return plan
    unsupported = unsupported_here(
        plan,
        look(runs, environ) if plan.device == "cuda" else Host(),
        probe(plan.python) if plan.device == "cuda" else EnginePackages(),
        lambda: mixed_comm_not_built(plan.python),
    )
    return marked(plan, unsupported)


def create(
    file: Path, plan: Plan, runs: Path, command: list[str], environ: Mapping[str, str]
) -> RunFolder:
    """A new run folder with all that is known before the first launch."""
    folder = RunFolder.create(runs, plan, datetime.now(UTC))
    shutil.copyfile(file, folder.experiment)
    write_json(folder.plan, plan.model_dump(mode="json"))
    write_json(folder.provenance, gather(plan, command, environ))
    return folder
