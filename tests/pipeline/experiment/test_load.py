"""Experiment files: what is taken, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.experiment.load import SpecError, load_experiment

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def base() -> dict[str, Any]:
    return {
        "name": "x",
        "model": {"path": "org/model"},
        "layouts": [{"tp": 4, "attention_dp": [2, 4]}],
        "arms": {"nccl": {"preset": "nccl"}, "b": {"args": {"max-running-requests": 8}}},
        "reference": "nccl",
        "jobs": {"latency": {"kind": "latency", "input_len": 8, "output_len": 8, "concurrency": 2}},
    }


def problems(tmp_path: Path, data: dict[str, Any], *overrides: str) -> list[str]:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_experiment(path, overrides)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.reference in experiment.arms
    assert experiment.gates, "an experiment without a gate can never pass"


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((ROOT / "experiments").rglob("*.yaml")) if p.parent.name != "published"],
    ids=lambda p: p.stem,
)
def test_every_shipped_file_points_editors_to_the_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    marker, _, target = first.partition("$schema=")
    assert marker == "# yaml-language-server: "
    assert (path.parent / target).resolve() == ROOT / "experiments" / "schema.json"


def test_three_mistakes_are_three_problems(tmp_path: Path) -> None:
    data = base()
    data["layouts"][0]["tpp"] = 1
    data["arms"]["nccl"]["preset"] = "ncll"
    data["launches"] = "two"
    assert problems(tmp_path, data) == [
        "layouts.0.tpp: unknown field; known here: attention_dp, ep, nodes, tp",
        "arms.nccl.preset: unknown preset 'ncll'; known: default, nccl, nccl-symmetric, mixed-comm",
        "launches: must be a whole number (given: 'two')",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("layouts.0.attention_dp=[3]", "[3] does not divide tp 4; possible: [1, 2, 4]"),
        ("layouts.0.attention_dp=[2, 2]", "names a size twice"),
        ("layouts.0.ep=3", "ep 3 does not divide tp 4"),
        ("layouts=[]", "layouts: "),
        ("reference=nobody", "reference: 'nobody' is no arm; arms: b, nccl"),
        ("jobs.latency.kind=speed", "jobs.latency.kind: unknown 'speed'; known: accuracy, latency"),
        ("jobs.latency.kind=null", "jobs.latency.kind: is required and missing"),
        ("jobs.latency.input_len=null", "jobs.latency.input_len: is required and missing"),
        ("jobs.latency.outputs=4", "jobs.latency.outputs: unknown field; known here: "),
        ("jobs.latency.launches=2", "jobs.latency.launches: 2 is more than launches, 1"),
        ("gates.speed={median_itl_ms: {margin: 0.1}}", "gates.speed: is no job; jobs: latency"),
        ("gates.latency={itl: {margin: 0.1}}", "gates.latency.itl: cannot be gated; possible: "),
        ("gates.latency={median_itl_ms: {margin: 3}}", "median_itl_ms.margin: must be"),
        ("gates.latency={median_itl_ms: {margin: 0.1, floor: 2}}", "only a score has a floor"),
        ("arms.b.args={tp-size: 8}", "flag 'tp-size' is set by servegate from layouts[].tp"),
        ("arms.b.args={--page-size: 8}", "must be written without dashes in front"),
        ("arms.b.env={SGLANG_PLUGINS: x}", "SGLANG_PLUGINS is set by servegate"),
        ("arms.b.env={A: 1}", "arms.b.env.A: must be text; quote it (given: 1)"),
        ("arms.b.fake={itl: 3}", "arms.b.fake.itl: unknown field; known here: "),
        ("engine={name: fake, fake: {accuracy: 2}}", "engine.fake.accuracy: "),
        ("model.prepare=smollm2-moe", "give exactly one of path and prepare"),
        ("model.path=null", "give exactly one of path and prepare"),
        ("server.port=0", "server.port: must be greater than or equal to 1"),
        ("server.port=70000", "server.port: must be less than or equal to 65535"),
        ("name=Bad Name", "name: "),
        ("arms.Up={}", "arms.Up: a name may hold a-z"),
        ("alpha=0", "alpha: must be greater than 0"),
        ("launches=true", "launches: must be a whole number"),
        ("nonsense=1", "nonsense: unknown field; known here: alpha, arms, "),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(tmp_path: Path, override: str, expected: str) -> None:
    found = problems(tmp_path, base(), override)
    assert len(found) == 1, found
    assert expected in found[0]


def test_a_flag_value_of_a_wrong_type_is_one_problem(tmp_path: Path) -> None:
    found = problems(tmp_path, base(), "arms.b.args={page-size: [[1]]}")
    assert len(found) == 1, found
    assert found[0] == (
        "arms.b.args.page-size: must be true or false, a number, text, "
        "a list of numbers or of texts, a mapping"
    )


def test_an_unknown_prepared_model_is_named(tmp_path: Path) -> None:
    found = problems(tmp_path, {**base(), "model": {"prepare": "gpt"}})
    assert found == ["model: prepare: unknown 'gpt'; known: smollm2-moe"]


def test_data_files_are_taken_from_the_experiments_folder(tmp_path: Path) -> None:
    data = base()
    data["jobs"] = {"gsm8k": {"kind": "accuracy", "data": "q.jsonl"}}
    found = problems(tmp_path, data)
    assert len(found) == 1
    assert found[0].startswith("jobs.gsm8k.data: ")
    assert str(tmp_path / "q.jsonl") in found[0]


def test_the_engine_of_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(base()), encoding="utf-8")
    assert load_experiment(path).engine.name == "sglang"
    assert load_experiment(path, engine="fake").engine.name == "fake"


def _swept(tmp_path: Path, **gates: Any) -> Any:
    data = base()
    data["jobs"]["latency"] = {
        "kind": "latency", "input_len": 8, "sweep": {"concurrency": [1, 16]},
    }  # fmt: skip
    data["gates"] = gates
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_experiment(path)


def test_a_sweep_is_a_job_a_point_and_its_gates_hold_for_each(tmp_path: Path) -> None:
    one = {"median_itl_ms": {"margin": 0.05}}
    every = {"median_itl_ms": {"margin": 0.03}}
    found = _swept(tmp_path, latency=every, **{"latency-8-256-16": one})
    assert list(found.jobs) == ["latency-8-256-1", "latency-8-256-16"]
    margins = {job: gates["median_itl_ms"].margin for job, gates in found.gates.items()}
    assert margins == {"latency-8-256-1": 0.03, "latency-8-256-16": 0.05}


def test_a_gate_on_no_point_of_the_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gates.latency-8-256-2: is no job"):
        _swept(tmp_path, **{"latency-8-256-2": {"median_itl_ms": {"margin": 0.03}}})


def test_mistakes_in_a_sweep_are_named(tmp_path: Path) -> None:
    data = base()
    data["jobs"] = {"latency": {"kind": "latency", "sweep": {"input_len": [0], "depth": [2]}}}
    found = problems(tmp_path, data)
    assert any(one.startswith("jobs.latency.sweep.input_len.0: ") for one in found)
    assert any(one.startswith("jobs.latency.sweep.depth: unknown field") for one in found)
    assert not any("input_len: is required" in one for one in found)


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        (["c"], "baselines: 'c' is no arm; arms: b, nccl"),
        (["nccl"], "baselines: 'nccl' stands there already; the reference is always a baseline"),
        (["b", "b"], "baselines: 'b' stands there already; the reference is always a baseline"),
    ],
)
def test_baselines_that_are_none(tmp_path: Path, baselines: list[str], message: str) -> None:
    found = problems(tmp_path, {**base(), "baselines": baselines})
    assert set(found) == {message}


@pytest.mark.parametrize(
    ("settings", "metric", "message"),
    [
        ({}, "goodput", "needs times to keep; set the job's goodput"),
        ({"goodput": {"tpot_ms": 20.0}}, "goodput", None),
        ({"request_rate": 4.0}, "steady_itl_ms", "needs all requests at once"),
        ({}, "steady_itl_ms", None),
    ],
)
def test_a_gate_that_could_only_be_missing_is_refused(
    tmp_path: Path, settings: dict[str, Any], metric: str, message: str | None
) -> None:
    data = base()
    data["jobs"]["latency"] |= settings
    data["gates"] = {"latency": {metric: {"margin": 0.05}}}
    if message is None:
        path = tmp_path / "x.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        assert load_experiment(path).gates["latency"][metric].margin == 0.05
        return
    (problem,) = problems(tmp_path, data)
    assert problem.startswith(f"gates.latency.{metric}: {message}")
