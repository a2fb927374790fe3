"""From an experiment to its plan: pure and deterministic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from evals import JOBS
from evals.comm_kernels import CommKernelsSettings
from evals.comm_kernels.nsys_capture import launch_prefix
from evals.job import JobSettings
from launchers.backends import BACKENDS, MIXED_COMM_PLUGIN, ArgValue, Backend
from launchers.engines import LaunchSettings, launch_argv, launch_env
from pipeline.layout import LayoutKey
from pipeline.plan import ArmPlan, Cell, Launch, Plan, PlanModel
from pipeline.schedule import schedule
from pipeline.spec.arms import Arm
from pipeline.spec.experiment import Experiment

__all__ = ["make_plan"]


def make_plan(experiment: Experiment, *, model: PlanModel, python: str, cores: int) -> Plan:
    """Lay out every launch of an experiment.

    Blocks are passes over all arms and layouts. Inside a block the arms of one layout follow one
    another directly, so that slow drift hits them alike, in an order that is counterbalanced over
    blocks (:func:`pipeline.order.counterbalanced`). Blocks that a sequential experiment may buy
    come behind those that it plans; they run what its gates on speed need, and nothing else. Jobs
    that want a launch of their own get one for each arm and layout behind all blocks.

    Args:
        experiment: A validated experiment.
        model: The resolved model.
        python: The interpreter that runs the servers and SGLang's benchmark client.
        cores: Processor cores of the machine that will serve (the CPU engine binds ranks to them).
    """
    arms = [_arm_plan(name, arm) for name, arm in experiment.arms.items()]
    layouts = [
        LayoutKey(tp=layout.tp, attention_dp=dp, ep=layout.ep, nodes=layout.nodes)
        for layout in experiment.layouts
        for dp in layout.attention_dp
    ]
    switches = {name for arm in arms for name in arm.env} | {
        name for backend in BACKENDS.values() for name in backend.env
    }
    launches = [
        _launch(
            experiment, arm, layout, block, jobs,
            index=index, model=model, python=python, cores=cores, switches=switches,
        )
        for index, (arm, layout, block, jobs) in enumerate(schedule(experiment, arms, layouts))
    ]  # fmt: skip
    plan = Plan(
        experiment=experiment.name,
        description=experiment.description,
        hash="",
        engine=experiment.engine.name,
        engine_version=experiment.engine.version,
        device=experiment.engine.device,
        python=python,
        model=model,
        reference=experiment.reference,
        baselines=experiment.baselines,
        arms=arms,
        layouts=layouts,
        launches_per_arm=experiment.launches,
        sequential=experiment.sequential,
        alpha=experiment.alpha,
        gpu_rule=experiment.gpu_rule,
        require_proof=experiment.require_proof,
        gates=experiment.gates,
        quarantine=experiment.quarantine,
        jobs={name: job.model_dump(mode="json") for name, job in experiment.jobs.items()},
        launches=launches,
    )
    return plan.model_copy(update={"hash": _hash(plan)})


def _hash(plan: Plan) -> str:
    """Eight hexadecimal digits over the whole plan: equal plans, and only they, share a hash.

    What is quarantined changes nothing that is run, and is left out. Taken before this machine's
    own limits are marked in it (:func:`pipeline.support.marked`).
    """
    text = json.dumps(plan.model_dump(mode="json", exclude={"hash", "quarantine"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _arm_plan(name: str, arm: Arm) -> ArmPlan:
    backend = BACKENDS[arm.preset] if arm.preset is not None else Backend(summary="")
    args: dict[str, ArgValue] = {**backend.args, **arm.args}
    return ArmPlan(
        name=name,
        preset=arm.preset,
        summary=backend.summary,
        args=dict(args),
        env={**backend.env, **arm.env},
        plugins=[*backend.plugins, *arm.plugins],
        fake=arm.fake,
        differs=[*backend.follows, *arm.differs],
    )


def _tracer(jobs: Iterable[JobSettings]) -> list[str]:
    """What the server is started under, where a job on it traces from outside."""
    asked = any(isinstance(job, CommKernelsSettings) and job.capture == "nsys" for job in jobs)
    return launch_prefix() if asked else []


def _unsupported(arm: ArmPlan, layout: LayoutKey) -> str:
    if MIXED_COMM_PLUGIN not in arm.plugins:
        return ""
    if layout.attention_dp == 1:
        return "MixedComm has nothing to replace without attention DP (attention_dp 1)"
    if layout.nodes > 1:
        return "servegate's MixedComm plugin runs on one node"
    return ""


def _launch(  # noqa: PLR0913 - one call site; each is a different thing
    experiment: Experiment,
    arm: ArmPlan,
    layout: LayoutKey,
    block: int,
    jobs: Mapping[str, JobSettings],
    *,
    index: int,
    model: PlanModel,
    python: str,
    cores: int,
    switches: set[str],
) -> Launch:
    server = experiment.server
    settings = LaunchSettings(
        engine=experiment.engine.name,
        version=experiment.engine.version,
        device=experiment.engine.device,
        python=python,
        model_path=model.path,
        served_name=model.served_name,
        host=server.host,
        port=server.port,
        tp=layout.tp,
        attention_dp=layout.attention_dp,
        ep=layout.ep,
        nodes=layout.nodes,
        args={**server.args, **arm.args},
        env={**server.env, **arm.env},
        plugins=[*server.plugins, *arm.plugins],
        fake={**experiment.engine.fake, **arm.fake, "launch_seed": index},
    )
    env = launch_env(settings, cores=cores)
    launch_id = f"{index:02d}-{arm.name}-dp{layout.attention_dp}"
    return Launch(
        index=index,
        id=launch_id,
        arm=arm.name,
        layout=layout,
        block=block,
        under=_tracer(jobs.values()),
        argv=launch_argv(settings),
        env=env,
        env_unset=sorted(switches - env.keys()),
        host=server.host,
        port=server.port,
        ready_timeout_s=server.ready_timeout_s,
        stop_timeout_s=server.stop_timeout_s,
        unsupported=_unsupported(arm, layout),
        optional=block >= experiment.launches
        and not any(JOBS[j.kind].alone for j in jobs.values()),
        cells=[
            Cell(
                id=f"{launch_id}/{name}",
                job=name,
                kind=job.kind,
                settings=job.model_dump(mode="json"),
            )
            for name, job in jobs.items()
            if job.launches is None or block < job.launches
        ],
    )
