"""From an experiment to its plan: pure and deterministic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from evals import JOBS
from evals.accuracy.job import AccuracySettings
from evals.comm_kernels import CommKernelsSettings
from evals.comm_kernels.capture.nsys import launch_prefix
from evals.job import JobSettings
from launchers.backends import BACKENDS, MIXED_COMM_PLUGIN, ArgValue, Backend
from launchers.engines import LaunchSettings, launch_argv, launch_env
from pipeline.experiment.arms import Arm
from pipeline.experiment.gates import followed
from pipeline.experiment.model import Experiment
from pipeline.plan.equal_arms import equal_arms
from pipeline.plan.model import ArmPlan, Cell, Launch, LayoutKey, Plan, PlanModel


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


def williams(arms: int) -> list[list[int]]:
    """Rows of a Williams design: each arm once a row, each in every position equally often.

    Each arm also follows every other one equally often, so that what a launch leaves behind (a warm
    card, a filled cache) is balanced too. Even ``arms``: ``arms`` rows; odd: the rows and their
    mirror images. Source: E. J. Williams, Experimental designs balanced for the estimation of
    residual effects of treatments, Aust. J. Sci. Res. A 2 (1949) 149-168.

    Args:
        arms: Number of arms, at least 1.
    """
    first: list[int] = []
    low, high = 0, arms - 1
    while low <= high:
        first.append(low)
        if low != high:
            first.append(high)
        low, high = low + 1, high - 1
    # The zigzag 0, n-1, 1, n-2, ... has every difference mod n once: the square is balanced.
    rows = [[(arm + shift) % arms for arm in first] for shift in range(arms)]
    return rows if arms % 2 == 0 else rows + [row[::-1] for row in rows]


def counterbalanced(arms: int, block: int, *, seed: int) -> list[int]:
    """The order of arm indices in one block. Two arms alternate as A B, B A, A B, ...

    Args:
        arms: Number of arms.
        block: Number of the block, from 0.
        seed: Which row of the design comes first.
    """
    rows = williams(arms)
    return rows[(block + seed) % len(rows)]


def make_plan(experiment: Experiment, *, model: PlanModel, python: str, cores: int) -> Plan:
    """Lay out every launch of an experiment.

    Blocks are passes over all arms and layouts. Inside a block the arms of one layout follow one
    another directly, so that slow drift hits them alike, in an order that is counterbalanced over
    blocks (:func:`pipeline.plan.build.counterbalanced`). Blocks that a sequential experiment
    may buy come behind those that it plans; they run what its gates on speed need, and nothing
    else. Jobs that want a launch of their own get one for each arm and layout behind all blocks.

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
            experiment,
            arm,
            layout,
            block,
            jobs,
            index=index,
            model=model,
            python=python,
            cores=cores,
            switches=switches,
        )
        for index, (arm, layout, block, jobs) in enumerate(schedule(experiment, arms, layouts))
    ]
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
    return plan.model_copy(update={"hash": _hash(plan), "repeats": equal_arms(plan)})


def _hash(plan: Plan) -> str:
    """Eight hexadecimal digits over the whole plan: equal plans, and only they, share a hash.

    What is quarantined and which arms repeat another change nothing that is run, and are left out.
    Taken before this machine's own limits are marked in it
    (:func:`pipeline.preflight.support.marked`).
    """
    text = json.dumps(
        plan.model_dump(mode="json", exclude={"hash", "quarantine", "repeats"}), sort_keys=True
    )
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
