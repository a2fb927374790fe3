"""Made-up runs for tests: real plans of small experiments, records as a run leaves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.accuracy.grades import metrics as marks_metrics
from evals.job import Answer, Mark
from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Cell, Launch, LayoutKey, Plan, PlanModel
from pipeline.records.facts import Facts
from pipeline.records.folder import RunFolder
from pipeline.records.record import PremiseResult, Record, Status, write_atomic, write_json

GATES: dict[str, Any] = {
    "gsm8k": {"score": {"margin": 0.03}},
    "latency": {"median_itl_ms": {"margin": 0.03}},
}

# A launch's own deviation from the truth, by block; the same in all arms, and a little by arm.
_DRIFT = (0.0, 0.004, -0.003, 0.002, -0.001, 0.003)

_SPEEDS = {
    "median_itl_ms": 10.0,
    "p99_itl_ms": 14.0,
    "median_tpot_ms": 10.5,
    "median_ttft_ms": 120.0,
    "median_e2e_ms": 900.0,
    "output_throughput": 1500.0,
    "request_throughput": 6.0,
}

MarkOf = Callable[[str, int, int, int], Mark]
"""Arm, attention DP, number of the question, number of the repeat."""

SpeedOf = Callable[[str, int, str], float]
"""Arm, attention DP, metric: a factor on the metric's usual value."""


def make_plan_for_test(
    *,
    arms: Sequence[str] = ("nccl", "mixed-comm"),
    dps: Sequence[int] = (2, 4),
    launches: int = 3,
    gates: Mapping[str, Any] = GATES,
    engine: str = "sglang",
    device: str = "cuda",
    jobs: Mapping[str, Any] | None = None,
    alpha: float = 0.05,
    baselines: Sequence[str] = (),
    repeating: Sequence[str] = (),
    most: int | None = None,
) -> Plan:
    """The plan of an experiment on TP 8; the first arm is the reference.

    Those of ``repeating`` are the reference again under another name (A/A). ``most`` is the cap of
    launches that an undecided speed may buy; None: it buys none.
    """
    experiment = Experiment.model_validate(
        {
            "name": "made-up",
            "description": "A made-up experiment.",
            "model": {"path": "org/model"},
            "engine": {"name": engine, "device": device},
            "layouts": [{"tp": 8, "attention_dp": list(dps)}],
            "arms": {
                name: {"env": {"ARM": arms[0] if name in repeating else name}} for name in arms
            },
            "reference": arms[0],
            "baselines": list(baselines),
            "launches": launches,
            "sequential": None if most is None else {"max_launches": most},
            "alpha": alpha,
            "jobs": dict(jobs)
            if jobs is not None
            else {
                "gsm8k": {"kind": "accuracy", "launches": 1},
                "latency": {
                    "kind": "latency", "input_len": 128, "output_len": 32, "concurrency": 8,
                },
            },
            "gates": dict(gates),
        }
    )  # fmt: skip
    model = PlanModel(path="org/model", served_name="org/model", tokenizer="org/model")
    return make_plan(experiment, model=model, python="/usr/bin/python3", cores=8)


def all_alike(arm: str, dp: int, question: int, repeat: int) -> Mark:
    """Four of five questions right, the same in all arms."""
    return "wrong" if question % 5 == 0 else "correct"


def same_speed(arm: str, dp: int, metric: str) -> float:
    """No arm is faster."""
    return 1.0


def answer(number: int, repeat: int, mark: Mark) -> Answer:
    """One line of answers.jsonl."""
    return Answer(
        id=f"q{number:04d}",
        repeat=repeat,
        mark=mark,
        expected="4",
        extracted={"correct": "4", "wrong": "5"}.get(mark),
        finish_reason={"truncated": "length", "error": "error"}.get(mark, "stop"),
        prompt_tokens=20,
        completion_tokens=5,
        started_at=1.0,
        ended_at=2.0,
        question="2 + 2?",
        response=f"<script>alert({number})</script>",
        level="easy",
    )


@dataclass
class MadeRun:
    """Records and answers of a made-up run; change ``records`` as a test needs."""

    plan: Plan
    records: dict[str, Record] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)

    def read(self, record: Record) -> list[Answer]:
        """The answers of one record."""
        return self.answers[record.cell]

    def change(self, cell: str, **changes: Any) -> None:
        """Replace fields of one record."""
        self.records[cell] = self.records[cell].model_copy(update=changes)

    def cells(self, arm: str, dp: int, job: str) -> list[str]:
        """Ids of the planned cells of one arm, layout and job."""
        return [
            cell.id
            for launch in self.plan.launches
            for cell in launch.cells
            if (launch.arm, launch.layout.attention_dp, cell.job) == (arm, dp, job)
        ]

    def fail(self, cell: str, status: Status = Status.FAILED, reason: str = "it broke") -> None:
        """Make one record one that does not count."""
        self.change(
            cell,
            status=status,
            failure_class="crashed",
            reason=reason,
            metrics={},
            counts={},
            log_tail=["last line", "<b>RuntimeError</b>: it broke"],
        )

    def write(self, runs: Path) -> RunFolder:
        """The run's folder on disk, as a run would leave it."""
        folder = RunFolder.create(runs, self.plan, datetime(2026, 11, 24, 6, 0, tzinfo=UTC))
        write_atomic(folder.experiment, "name: made-up\n")
        write_json(folder.plan, self.plan.model_dump(mode="json"))
        write_json(folder.provenance, PROVENANCE)
        for launch in self.plan.launches:
            if launch.id in self.facts:
                folder.launch(launch.id).root.mkdir(parents=True)
                known = self.facts[launch.id].model_dump(mode="json")
                write_json(folder.launch(launch.id).facts, known)
            for cell in launch.cells:
                record = self.records.get(cell.id)
                if record is None:
                    continue
                place = folder.launch(launch.id).cell(cell.job)
                place.root.mkdir(parents=True, exist_ok=True)
                place.write(record)
                if cell.id in self.answers:
                    lines = [one.model_dump_json() for one in self.answers[cell.id]]
                    write_atomic(place.answers, "\n".join(lines) + "\n")
        return folder


PROVENANCE: dict[str, Any] = {
    "schema_version": 1,
    "run": {"experiment": "made-up", "command": ["servegate", "run"]},
    "machine": {"host": "node-1", "cores": 8, "memory_gib": 64.0},
    "gpu": {"gpus": [{"name": "<H200>", "driver": "999.1"}]},
    "packages": {"sglang": "0.5.23"},
    "inherited_environment": {},
}


def make_run(
    plan: Plan,
    *,
    mark: MarkOf = all_alike,
    speed: SpeedOf = same_speed,
    questions: int = 200,
    repeats: int = 1,
) -> MadeRun:
    """All records of a plan, ok, with answers by ``mark`` and speeds by ``speed``."""
    made = MadeRun(plan)
    for launch in plan.launches:
        for cell in launch.cells:
            if cell.kind == "accuracy":
                made.answers[cell.id] = [
                    answer(q, k, mark(launch.arm, launch.layout.attention_dp, q, k))
                    for q in range(questions)
                    for k in range(repeats)
                ]
                metrics = marks_metrics(made.answers[cell.id]) if questions else {}
                details = {"ids_digest": f"ids-{questions}", "protocol_digest": "protocol"}
            else:
                gated = [name for name in plan.gates.get(cell.job, {}) if name not in _SPEEDS]
                names = gated if cell.kind == "comm-kernels" else [*_SPEEDS, *gated]
                metrics = {name: _speed(launch, name, speed) for name in names}
                details = {}
            made.records[cell.id] = _record(launch, cell, metrics, details)
    return made


def _speed(launch: Launch, metric: str, speed: SpeedOf) -> float:
    own = 0.0005 * ((launch.index * 7) % 5 - 2)  # a launch differs by itself, too
    factor = speed(launch.arm, launch.layout.attention_dp, metric)
    return _SPEEDS.get(metric, 50.0) * factor * (1 + _DRIFT[launch.block % len(_DRIFT)] + own)


def _record(
    launch: Launch, cell: Cell, metrics: dict[str, float], details: dict[str, Any]
) -> Record:
    hour, minute = 6 + launch.index // 60, launch.index % 60
    return Record(
        cell=cell.id,
        launch=launch.id,
        attempt=1,
        arm=launch.arm,
        layout=LayoutKey.model_validate(launch.layout.model_dump()),
        block=launch.block,
        job=cell.job,
        kind=cell.kind,
        status=Status.OK,
        failure_class="",
        reason="",
        log_tail=[],
        started_at=f"2026-11-24T{hour:02d}:{minute:02d}:00.000+00:00",
        ended_at=f"2026-11-24T{hour:02d}:{minute:02d}:30.000+00:00",
        seconds=30.0,
        settings=cell.settings,
        metrics=metrics,
        counts={"examples": 200, "errors": 0},
        runs=[],
        details=details,
        artifacts={"answers": "answers.jsonl"} if cell.kind == "accuracy" else {},
        premises=[PremiseResult(name="layout", state="proved", detail="as planned")],
    )
