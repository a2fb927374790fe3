"""In which order arms, layouts and blocks are launched, and which jobs run on each launch; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from evals import JOBS
from evals.accuracy import AccuracySettings
from evals.job import JobSettings
from pipeline.layout import LayoutKey
from pipeline.order import counterbalanced
from pipeline.plan import ArmPlan
from pipeline.spec.experiment import Experiment
from pipeline.spec.gates import followed

__all__ = ["schedule"]


def schedule(
    experiment: Experiment, arms: Sequence[ArmPlan], layouts: Sequence[LayoutKey]
) -> Iterator[tuple[ArmPlan, LayoutKey, int, Mapping[str, JobSettings]]]:
    """Arm, layout, block and jobs of each launch, in order."""
    common = {name: job for name, job in experiment.jobs.items() if not JOBS[job.kind].alone}
    planned = experiment.launches if common else 0
    most = planned if experiment.sequential is None else experiment.sequential.max_launches
    gated = {name: common[name] for name in followed(common) if name in experiment.gates}
    for block in range(most):
        for layout in layouts if block % 2 == 0 else layouts[::-1]:
            order = counterbalanced(len(arms), block, seed=experiment.seed)
            if block == 0 and any(_in_stages(job) for job in common.values()):
                # An arm can only be asked less when what the reference answers is known.
                order.sort(key=lambda position: arms[position].name != experiment.reference)
            for position in order:
                yield arms[position], layout, block, common if block < planned else gated
    # Behind everything that is measured: servers that are profiled.
    for name, job in experiment.jobs.items():
        if JOBS[job.kind].alone:
            count = 1 if job.launches is None else job.launches
            for block in range(count):
                # Times of several launches are compared in blocks, as speeds are.
                order = counterbalanced(len(arms), block, seed=experiment.seed)
                for layout in layouts:
                    for position in order if count > 1 else range(len(arms)):
                        yield arms[position], layout, block, {name: job}


def _in_stages(job: JobSettings) -> bool:
    return isinstance(job, AccuracySettings) and job.stages > 1
