"""What an experiment asks for and no machine can run, or nothing in it can ever meet."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from launchers.backends import BACKENDS, ArgValue
from launchers.machine.limits import refused_args, refused_sizes
from pipeline.experiment.arms import Arm
from pipeline.experiment.model import Experiment
from pipeline.experiment.quarantine import Quarantine
from pipeline.plan.model import LayoutKey

__all__ = ["launch_problems", "quarantine_problems"]


def launch_problems(experiment: Experiment) -> list[str]:
    """Flags and sizes with which no launch can run anywhere; ``key.path: why``."""
    problems: dict[str, None] = {}
    for name, arm in experiment.arms.items():
        for flag, why in refused_args(_args(experiment, arm)):
            shared = flag in experiment.server.args and flag not in arm.args
            where = "server" if shared else f"arms.{name}"
            problems[f"{where}.args.{flag}: {why}"] = None
    for index, layout in enumerate(experiment.layouts):
        arms_by_reason: dict[str, list[str]] = {}
        for name, arm in experiment.arms.items():
            why = refused_sizes(_args(experiment, arm), tp=layout.tp, ep=layout.ep)
            if why:
                arms_by_reason.setdefault(why, []).append(name)
        for why, names in arms_by_reason.items():
            where = f"layouts.{index}.ep: is {layout.ep}"
            problems[f"{where}, but in arms {', '.join(names)} {why}"] = None
        if layout.nodes > 1 and experiment.engine.device == "cpu":
            problems[
                f"layouts.{index}.nodes: is {layout.nodes}, and on device cpu all ranks of a "
                "server share one machine's memory; set nodes: 1"
            ] = None
    served = experiment.model.served_name
    if served is not None and ":" in served:
        problems[
            f"model.served_name: {served!r} has a ':', which SGLang keeps for adapters "
            "(model:adapter) and does not start with"
        ] = None
    return list(problems)


def _args(experiment: Experiment, arm: Arm) -> dict[str, ArgValue]:
    preset = BACKENDS[arm.preset].args if arm.preset is not None else {}
    return {**experiment.server.args, **preset, **arm.args}


def quarantine_problems(experiment: Experiment) -> list[str]:
    """Entries that set nothing aside: a name is misspelt, or what it named is gone."""
    return [
        f"quarantine.{index}.{text}"
        for index, entry in enumerate(experiment.quarantine)
        for text in _unmatched(experiment, entry)
    ]


def _unmatched(experiment: Experiment, entry: Quarantine) -> Iterator[str]:
    layouts = [
        str(LayoutKey(tp=layout.tp, attention_dp=dp, ep=layout.ep, nodes=layout.nodes))
        for layout in experiment.layouts
        for dp in layout.attention_dp
    ]
    jobs = [job for job in experiment.jobs if fnmatchcase(job, entry.job)]
    gated = {metric: None for job in jobs for metric in experiment.gates.get(job, {})}
    for key, pattern, names in (
        ("layout", entry.layout, layouts),
        ("arm", entry.arm, list(experiment.arms)),
        ("job", entry.job, list(experiment.jobs)),
        ("metric", entry.metric, list(gated)),
    ):
        if key == "metric" and (pattern == "*" or not jobs):
            continue
        if not any(fnmatchcase(name, pattern) for name in names):
            there = ", ".join(names) if names else "none is gated"
            yield f"{key}: {pattern!r} matches nothing; there: {there}"
