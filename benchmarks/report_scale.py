"""Times `servegate gate` and `report` over large runs against pandas reading the same files.

Usage: python -m benchmarks.report_scale [CELLS [MORE_CELLS [ANSWERS]]]. A minute: 200 1000 100000.

Makes three run folders in a temporary one: of 1,000 and of 10,000 cells, where launches grow with
the cells and jobs, arms and layouts stay as they are, and one of 2 million answers of 500
characters. `gate` and `report` read each in a process of their own, and in turn with them pandas
parses every file of the run (pandas.json_normalize of all JSON files at once, pandas.read_json of
each file of answers), also in a process of its own. Seconds are those of the CPU, which other work
on the machine changes the least, and only their ratios count. Each side's own start, that is what
it takes for a run of four cells, is subtracted.

The figure is the largest ratio of a command to pandas, at most 3. Seconds a cell at the larger
number of cells must be at most 1.2 times those at the smaller, and no command may take 1 GB.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from evals.accuracy.grades import metrics as score_metrics
from evals.job import Answer, Mark
from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Cell, Launch, LayoutKey, Plan, PlanModel
from pipeline.records.facts import Facts
from pipeline.records.folder import RunFolder
from pipeline.records.record import PremiseResult, Record, Status

CELLS, MORE_CELLS, ANSWERS, ROUNDS = 1_000, 10_000, 2_000_000, 3
LIMIT, GROWTH, LIMIT_GB = 3.0, 1.2, 1.0

ARMS = ("nccl", "nccl-symmetric", "mixed-comm", "flashinfer", "nccl-again")
DPS = (1, 2, 4, 8)
POINTS = 10
QUESTIONS, REPEATS = 500, 4
TEXT = "The train takes three hours, and each hour it passes four stations. " * 8

_SPEEDS = {
    "median_itl_ms": 10.0,
    "p99_itl_ms": 14.0,
    "median_tpot_ms": 10.5,
    "p99_tpot_ms": 12.0,
    "median_ttft_ms": 120.0,
    "p99_ttft_ms": 180.0,
    "median_e2e_ms": 900.0,
    "output_throughput": 1500.0,
    "total_throughput": 3000.0,
    "request_throughput": 6.0,
}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One process: CPU seconds, and the largest resident size of it in GB."""

    seconds: float
    gb: float


def plan_of(launches: int, kind: str, *, small: bool = False) -> Plan:
    """Five arms on four layouts, and latency at ten lengths or accuracy; or 2, 1 and 1 length."""
    jobs: dict[str, Any] = {}
    gates: dict[str, Any] = {}
    if kind == "latency":
        for point in range(1 if small else POINTS):
            name = f"latency-{128 * (point + 1)}"
            jobs[name] = {
                "kind": "latency",
                "input_len": 128 * (point + 1),
                "output_len": 32,
                "concurrency": 8,
            }
            gates[name] = {"median_itl_ms": {"margin": 0.03}}
    else:
        jobs["gsm8k"] = {"kind": "accuracy", "repeats": REPEATS}
        gates["gsm8k"] = {"score": {"margin": 0.03, "floor": 0.7}}
    arms = ARMS[:2] if small else ARMS
    spec = Experiment.model_validate(
        {
            "name": "scale",
            "description": "A made-up run of a given size.",
            "model": {"path": "org/model"},
            "engine": {"name": "sglang", "device": "cuda"},
            "layouts": [{"tp": 8, "attention_dp": list(DPS[:1] if small else DPS)}],
            "arms": {name: {"env": {"ARM": name}} for name in arms},
            "reference": ARMS[0],
            "launches": launches,
            "jobs": jobs,
            "gates": gates,
        }
    )
    model = PlanModel(path="org/model", served_name="org/model", tokenizer="org/model")
    return make_plan(spec, model=model, python="/usr/bin/python3", cores=8)


def write_run(root: Path, plan: Plan) -> None:
    """The folder that a run of this plan leaves, without its logs."""
    folder = RunFolder(root)
    root.mkdir(parents=True)
    _write(folder.plan, plan.model_dump(mode="json"))
    _write(folder.provenance, {"schema_version": 1, "run": {"experiment": plan.experiment}})
    for launch in plan.launches:
        place = folder.launch(launch.id)
        place.root.mkdir(parents=True)
        _write(place.facts, _facts(launch).model_dump(mode="json"))
        for cell in launch.cells:
            of_cell = place.cell(cell.job)
            of_cell.root.mkdir(parents=True)
            if cell.kind == "accuracy":
                record = _with_answers(of_cell.answers, launch, cell)
            else:
                record = _record(launch, cell, _speeds(launch), {})
            _write(of_cell.record, record.model_dump(mode="json"))


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _speeds(launch: Launch) -> dict[str, float]:
    drift = 1 + 0.004 * ((launch.index * 7919) % 11 - 5) / 5
    return {name: value * drift for name, value in _SPEEDS.items()}


def _with_answers(path: Path, launch: Launch, cell: Cell) -> Record:
    answers: list[Answer] = []
    with path.open("w", encoding="utf-8") as file:
        for question in range(QUESTIONS):
            for repeat in range(REPEATS):
                answer = _answer(question, repeat, launch.index)
                answers.append(answer)
                file.write(answer.model_dump_json() + "\n")
    details = {
        "ids_digest": "ids",
        "protocol_digest": "protocol",
        "examples": QUESTIONS,
        "generation": {"temperature": 0.0, "max_tokens": 2048},
        "in_flight": 31.5,
    }
    return _record(launch, cell, score_metrics(answers), details)


def _answer(question: int, repeat: int, launch: int) -> Answer:
    wrong = (question * 31 + repeat * 7 + launch) % 5 == 0
    mark: Mark = "wrong" if wrong else "correct"
    return Answer(
        id=f"q{question:05d}",
        repeat=repeat,
        mark=mark,
        expected="12",
        extracted="13" if wrong else "12",
        finish_reason="stop",
        prompt_tokens=80,
        completion_tokens=120 + repeat,
        started_at=float(question),
        ended_at=question + 2.5,
        question=f"Question {question}: how many stations does the train pass?",
        response=f"{TEXT}So the answer is {13 if wrong else 12} ({repeat}, {launch % 3}).",
        level=str(question % 4),
    )


def _record(
    launch: Launch, cell: Cell, metrics: dict[str, float], details: dict[str, Any]
) -> Record:
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
        started_at="2026-01-01T06:00:00.000+00:00",
        ended_at="2026-01-01T06:00:30.000+00:00",
        seconds=30.0,
        settings=cell.settings,
        metrics=metrics,
        counts={"completed": 64, "errors": 0},
        runs=[metrics, metrics, metrics] if cell.kind == "latency" else [],
        details=details,
        artifacts={"answers": "answers.jsonl"} if cell.kind == "accuracy" else {},
        premises=[
            PremiseResult(name="layout", state="proved", detail="as planned"),
            PremiseResult(name="arguments", state="proved", detail="as planned"),
        ],
    )


def _facts(launch: Launch) -> Facts:
    """As many arguments as SGLang's /server_info has."""
    arguments: dict[str, Any] = {f"argument_{number}": number for number in range(300)}
    return Facts(
        arguments={**arguments, "tp_size": launch.layout.tp, "dp_size": launch.layout.attention_dp},
        environment={"ARM": launch.arm},
        rank_environment={"ARM": launch.arm},
        packages={f"package-{number}": "1.2.3" for number in range(20)},
        libraries={"libnccl.so.2": "2.27.3"},
        machine={"host": "node-1", "cores": 128},
        gpu={"driver": "570.1", "gpus": [{"name": "GPU", "index": index} for index in range(8)]},
    )


def timed(argv: list[str]) -> Timing:
    """Run a command, whatever verdict it exits with."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        child = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 3):
        raise SystemExit(f"{' '.join(argv)} ended with {code}")
    return Timing(seconds=used.ru_utime + used.ru_stime, gb=used.ru_maxrss / 1e6)


def read_with_pandas(root: Path) -> None:
    """Every JSON and JSON Lines file of a run, one after the other."""
    import pandas as pd

    pd.json_normalize([json.loads(path.read_bytes()) for path in root.rglob("*.json")])
    for path in root.rglob("*.jsonl"):
        pd.read_json(path, lines=True)


class Case:
    """One run folder, one of four cells, and what each side took on both."""

    def __init__(self, folder: Path, launches: int, kind: str) -> None:
        plan = plan_of(launches, kind)
        self.cells = sum(len(launch.cells) for launch in plan.launches)
        self.run, self.small = folder / "run", folder / "small"
        write_run(self.run, plan)
        write_run(self.small, plan_of(2, kind, small=True))
        self.seconds: dict[str, float] = {}
        self.gb = 0.0

    def measure(self, rounds: int) -> None:
        """Each side's median seconds without its start, the sides in turn."""
        told: dict[str, list[float]] = {"pandas": [], "gate": [], "report": []}
        for _ in range(rounds):
            for side, seconds in told.items():
                full = timed(_argv(side, self.run))
                seconds.append(full.seconds - timed(_argv(side, self.small)).seconds)
                if side != "pandas":
                    self.gb = max(self.gb, full.gb)
        self.seconds = {side: median(seconds) for side, seconds in told.items()}

    @property
    def ratio(self) -> float:
        """The slower command over pandas."""
        return max(self.seconds["gate"], self.seconds["report"]) / self.seconds["pandas"]

    def show(self, what: str) -> None:
        """Everything that was measured, as one line."""
        told = ", ".join(f"{side} {seconds:.2f} s" for side, seconds in self.seconds.items())
        print(f"{what}: {told}; {self.ratio:.2f} of pandas, {self.gb:.2f} GB", flush=True)


def _argv(side: str, folder: Path) -> list[str]:
    module = ["benchmarks.report_scale", "--pandas"] if side == "pandas" else ["pipeline", side]
    return [sys.executable, "-m", *module, str(folder)]


def main(cells: int, more_cells: int, answers: int) -> int:
    """Exit code 0 if all limits hold."""
    a_launch = len(ARMS) * len(DPS)
    with tempfile.TemporaryDirectory() as name:
        cases = {}
        for size in (cells, more_cells):
            launches = max(1, round(size / (a_launch * POINTS)))
            cases[size] = Case(_new(name, str(size)), launches, "latency")
            cases[size].measure(ROUNDS)
            cases[size].show(f"{cases[size].cells} cells")
            shutil.rmtree(cases[size].run)
        launches = max(1, round(answers / (a_launch * QUESTIONS * REPEATS)))
        asked = Case(_new(name, "answers"), launches, "accuracy")
        asked.measure(ROUNDS)
        asked.show(f"{asked.cells * QUESTIONS * REPEATS} answers")
    few, many = cases[cells], cases[more_cells]
    growth = max(
        many.seconds[side] / many.cells / (few.seconds[side] / few.cells)
        for side in ("gate", "report")
    )
    peak = max(case.gb for case in (few, many, asked))
    figure = max(case.ratio for case in (few, many, asked))
    print(f"seconds a cell at {many.cells} over those at {few.cells}: {growth:.2f} ({GROWTH})")
    print(f"peak memory {peak:.2f} GB (limit {LIMIT_GB:.0f} GB)")
    holds = figure <= LIMIT and growth <= GROWTH and peak < LIMIT_GB
    verdict = "holds" if holds else "falls short"
    print(f"benchmark report_scale: {figure:.2f} (limit {LIMIT:.2f}) {verdict}")
    return 0 if holds else 1


def _new(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder


if __name__ == "__main__":
    if sys.argv[1:2] == ["--pandas"]:
        read_with_pandas(Path(sys.argv[2]))
    else:
        given = [int(word) for word in sys.argv[1:4]]
        sys.exit(main(*given, *(CELLS, MORE_CELLS, ANSWERS)[len(given) :]))
