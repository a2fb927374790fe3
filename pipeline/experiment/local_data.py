"""What an experiment's local data files say of it before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evals.accuracy.data import load_local
from evals.accuracy.job import AccuracySettings
from evals.files import DataError
from pipeline.experiment.model import Experiment

__all__ = ["counted_questions"]


def counted_questions(experiment: Experiment) -> Mapping[str, int]:
    """Questions in the data file of each job that asks them all, by job.

    A file that cannot be read is left out: the job's own check complains of it.
    """
    counts: dict[str, int] = {}
    for name, job in experiment.jobs.items():
        if isinstance(job, AccuracySettings) and job.data is not None and job.examples is None:
            try:
                data = load_local(job.benchmark, Path(job.data), choice_seed=job.choice_seed)
            except (DataError, OSError):
                continue
            counts[name] = len(data.questions)
    return counts
