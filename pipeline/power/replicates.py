"""What the number of launches allows at all, told when an experiment is planned; pure."""

from __future__ import annotations

from math import ceil, log2

from evals.metrics import METRICS
from pipeline.power.basis import gated_launches, is_fraction
from pipeline.spec.experiment import Experiment
from pipeline.stats.launch_power import smallest_sign_flip_p

__all__ = ["replicate_notes"]


def replicate_notes(experiment: Experiment) -> list[str]:
    """Speeds whose launches are few for a test.

    A verdict is Student's t and can be had from two launches on, but what then lies behind it is
    that launches differ as a normal distribution says. Without that faith all that so many blocks
    can show is the p-value of their signs.
    """
    if len(experiment.arms) < 2:
        return []
    enough = ceil(-log2(experiment.alpha))
    few: dict[int, list[str]] = {}
    for job, gates in experiment.gates.items():
        launches = gated_launches(job, experiment)
        speeds = [name for name in gates if not is_fraction(name) and METRICS[name].unit != "nats"]
        if speeds and 1 < launches < enough:
            few.setdefault(launches, []).append(job)
    return [
        f"launches: the smallest p that {launches} blocks show without trusting a normal "
        f"distribution is {smallest_sign_flip_p(launches):.2g}, and alpha is "
        f"{experiment.alpha:g}; {enough} launches need no such trust ({', '.join(jobs)})"
        for launches, jobs in few.items()
    ]
