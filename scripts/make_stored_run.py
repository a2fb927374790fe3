"""Make the records that `servegate selftest` ships: one small run in which everything is gated.

They are kept as a file, not made when the test runs: a self-test must read what older versions
wrote, and must not share code with what it tests. Run it only when a metric is added:

    python scripts/make_stored_run.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evals.metrics import METRICS
from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Cell, Launch, Plan, PlanModel
from pipeline.records.facts import Facts
from pipeline.records.record import PremiseResult, Record, Status

TARGET = Path(__file__).resolve().parent.parent / "pipeline" / "selftest" / "stored.json"

# 400 questions: 240 right, 100 wrong, 20 of each other mark; mixed, so that no mark lies together.
QUESTIONS = "ccwccnccwccwctwccwce"
TEXTS, STEPS, TOP = 24, 4, 2

MEASURED = [
    one.name for one in METRICS.values() if one.compared_as == "ratio" and one.better != "neither"
]
OF_JOB = {
    "gsm8k": [one.name for one in METRICS.values() if one.compared_as == "fraction"],
    "logprobs": ["logprob_shift"],
    "comm": [
        name for name in MEASURED
        if name.startswith("comm_") or name in ("other_kernels_ms", "gaps_ms")
    ],
}  # fmt: skip
OF_JOB["latency"] = [name for name in MEASURED if name not in OF_JOB["comm"]]

USUAL = {"ms": 10.0, "tok/s": 1500.0, "req/s": 6.0, "%": 80.0, "kernels": 240.0, "nats": 0.002}

# How launches differ by themselves, by block.
DRIFT = (0.0, 0.004, -0.003)


def main() -> None:
    """Write the file."""
    plan = stored_plan()
    data = {
        "plan": plan.model_dump(mode="json"),
        "records": [
            record_of(launch, cell).model_dump(mode="json")
            for launch in plan.launches
            for cell in launch.cells
        ],
        "answers": {
            cell.id: QUESTIONS * 20
            for launch in plan.launches for cell in launch.cells if cell.kind == "accuracy"
        },
        "trails": {trail["id"] + f"/{trail['repeat']}": trail for trail in trails()},
        "trails_of": {
            cell.id: [trail["id"] + f"/{trail['repeat']}" for trail in trails()]
            for launch in plan.launches for cell in launch.cells if cell.kind == "logprobs"
        },
        "facts": FACTS.model_dump(mode="json"),
        "facts_of": [launch.id for launch in plan.launches],
        "witnesses": {
            launch.id: [witness(rank) for rank in range(launch.layout.tp)]
            for launch in plan.launches if launch.arm == "mixed-comm"
        },
    }  # fmt: skip
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)
    TARGET.write_text(text.replace("},{", "},\n{") + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1024:.0f} KiB")


def stored_plan() -> Plan:
    """Two layouts; the reference, another baseline, an arm that repeats it, and MixedComm."""
    margins = {"": 0.05, "nats": 0.05}
    experiment = Experiment.model_validate(
        {
            "name": "selftest",
            "description": "Made-up records with everything gated.",
            "model": {"path": "org/model"},
            "layouts": [{"tp": 4, "attention_dp": [2, 4], "ep": 4}],
            "arms": {
                "nccl": {"preset": "nccl"},
                "default": {"preset": "default"},
                "again": {"preset": "nccl"},
                "mixed-comm": {"preset": "mixed-comm"},
            },
            "reference": "nccl",
            "baselines": ["default"],
            "launches": 3,
            "jobs": {
                "gsm8k": {"kind": "accuracy", "launches": 1},
                "latency": {
                    "kind": "latency", "input_len": 128, "output_len": 32, "concurrency": 8,
                },
                "logprobs": {"kind": "logprobs", "steps": STEPS, "top": TOP, "launches": 1},
                "comm": {"kind": "comm-kernels", "launches": 3},
            },
            "gates": {
                job: {
                    name: {
                        "margin": margins.get(METRICS[name].unit, 0.05),
                        **({"floor": 0.2} if name == "score" else {}),
                    }
                    for name in names
                }
                for job, names in OF_JOB.items()
            },
        }
    )  # fmt: skip
    model = PlanModel(path="org/model", served_name="org/model", tokenizer="org/model")
    return make_plan(experiment, model=model, python="python3", cores=8)


def record_of(launch: Launch, cell: Cell) -> Record:
    """An ok record, as a run leaves it."""
    details: dict[str, Any] = {}
    metrics = {
        name: USUAL[METRICS[name].unit] * (1 + DRIFT[launch.block])
        for name in OF_JOB[cell.job] if METRICS[name].unit in USUAL and name in MEASURED
    }  # fmt: skip
    if cell.kind == "accuracy":
        details = {"ids_digest": "ids", "protocol_digest": "protocol", "examples": 400}
        metrics = {
            "score": QUESTIONS.count("c") / (len(QUESTIONS) - QUESTIONS.count("e")),
            "no_answer_rate": 0.05, "truncated_rate": 0.05, "error_rate": 0.05,
        }  # fmt: skip
    if cell.kind == "logprobs":
        details = {"ids_digest": "ids", "protocol_digest": "protocol"}
        metrics = {"logprob_noise": 0.002}
    minute = f"2026-01-02T03:{launch.index:02d}"
    return Record(
        cell=cell.id, launch=launch.id, attempt=1, arm=launch.arm, layout=launch.layout,
        block=launch.block, job=cell.job, kind=cell.kind, status=Status.OK, failure_class="",
        reason="", log_tail=[], started_at=f"{minute}:00.000+00:00",
        ended_at=f"{minute}:30.000+00:00", seconds=30.0, settings=cell.settings, metrics=metrics,
        counts={}, runs=[], details=details, artifacts={},
        premises=[
            PremiseResult(name=name, state="proved", detail="as planned")
            for name in ("layout", "arguments", "environment", "plugins", "communication path")
        ],
    )  # fmt: skip


def trails() -> list[dict[str, Any]]:
    """Two askings of each text; the second differs by rounding."""
    return [
        {
            "id": f"text-{text}", "repeat": repeat, "prefill": [-1.0],
            "tokens": list(range(text, text + STEPS)),
            "logprobs": [-1.0 - 0.001 * repeat * (1 + text % 3)] * STEPS,
            "top": [[[text + step, -1.0 - 0.001 * repeat * (1 + text % 3)], [999, -3.0]]
                    for step in range(STEPS)],
        }
        for text in range(TEXTS) for repeat in (0, 1)
    ]  # fmt: skip


def witness(rank: int) -> dict[str, Any]:
    """What the plugin writes on a rank that took all fused operations."""
    names = ("ALLREDUCE_ALLGATHER", "REDUCESCATTER_ALLREDUCE", "ALLGATHER", "REDUCESCATTER")
    return {
        "rank": rank, "handler": "flashinfer", "idle_reason": "",
        "operations": dict.fromkeys(names, 64), "passed_through": {},
    }  # fmt: skip


FACTS = Facts(
    arguments={"page_size": 1}, environment={}, rank_environment={},
    packages={"sglang": "0.5.23", "torch": "2.9.0"}, libraries={},
    machine={"host": "node-1"}, gpu={"driver": "999.1"},
)  # fmt: skip


if __name__ == "__main__":
    main()
