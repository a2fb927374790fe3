"""What the doctor finds and says, on made-up machines and on this one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launchers.machine.host import EnginePackages, Host
from pipeline.cli import doctor as cli_doctor
from pipeline.plan.model import Plan
from pipeline.preflight.checks import Preflight
from pipeline.preflight.doctor import Diagnosis, Finding, diagnose
from pipeline.preflight.support import marked
from tests.pipeline.preflight.test_support import HOST, plan
from tests.pipeline.runs import experiment, servegate

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"

PLUGINS = [
    {"group": "sglang.srt.plugins", "name": "servegate_mixed_comm", "value": "v",
     "distribution": "servegate-sglang"},
]  # fmt: skip
ENGINE = EnginePackages(
    versions={"sglang": "0.5.23", "flashinfer-python": "0.7.2", "nvidia-nccl-cu13": "2.30.7"},
    plugins=PLUGINS,
    nvcc="13.0 (/usr/bin/nvcc)",
)
FREE = {"free_mib": 140_000, "processes": []}


def diagnosis(host: Host = HOST, engine: EnginePackages = ENGINE, **changes: Any) -> Diagnosis:
    whole = replace(host, state=host.state or [FREE] * len(host.gpus))
    return diagnose(whole, engine, **{"not_built": "", **changes})


def finding(found: Diagnosis, name: str) -> Finding:
    [one] = [one for one in found.findings if one.name == name]
    return one


def test_a_machine_that_has_everything() -> None:
    found = diagnosis(plan=plan(), preflight=Preflight())
    assert {one.state for one in found.findings} <= {"ok", "note"}
    assert [one.name for one in found.findings if one.state == "note"] == ["NVSHMEM", "nsys"]
    assert finding(found, "GPUs").found == "8 x NVIDIA H200 (capability 9.0, 143771 MiB)"
    assert found.can_run
    assert [cell.launches for cell in found.cells] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("host", "engine", "name", "state", "said"),
    [
        (replace(HOST, forbidden=["X=1"]), ENGINE, "NVLink multicast", "note", "(X=1)"),
        (replace(HOST, no_multicast="no"), ENGINE, "NVLink multicast", "note", "no"),
        (HOST, EnginePackages(), "SGLang", "missing", "not installed"),
        (HOST, replace(ENGINE, plugins=[]), "SGLang plugins", "missing",
         "no servegate_mixed_comm; there is no plugin at all"),
        (HOST, replace(ENGINE, plugins=[*PLUGINS, {**PLUGINS[0], "distribution": "stranger"}]),
         "SGLang plugins", "missing", "servegate_mixed_comm by servegate-sglang and stranger"),
        (HOST, replace(ENGINE, nvcc=None), "nvcc", "note", "not on PATH"),
        (replace(HOST, state=[{"free_mib": 1, "processes": ["pid 7 (python), 9 MiB"]}] * 8), ENGINE,
         "GPU processes", "note", "GPU 0: pid 7 (python), 9 MiB"),
        (Host(), ENGINE, "GPUs", "missing", "none"),
    ],
)  # fmt: skip
def test_what_is_found_amiss(
    host: Host, engine: EnginePackages, name: str, state: str, said: str
) -> None:
    found = diagnosis(host, engine, plan=plan(), preflight=Preflight())
    one = finding(found, name)
    assert (one.state, said in one.found) == (state, True)
    assert one.do
    assert found.can_run is (state == "note")


def test_kernels_that_are_not_built_are_said_only_where_they_were_asked_for() -> None:
    assert (
        "does not exist"
        in finding(diagnosis(not_built="x.so does not exist"), "MixedComm kernels").found
    )
    names = [one.name for one in diagnosis(not_built=None).findings]
    assert "MixedComm kernels" not in names


def test_a_build_that_fails_is_no_success() -> None:
    reason = "RuntimeError: no nvcc"
    failed = diagnosis(not_built=reason, building=True)
    assert finding(failed, "MixedComm kernels").state == "missing"
    assert not failed.can_run
    assert diagnosis(not_built=reason).can_run
    assert diagnosis(not_built="", building=True).can_run


def all_but(made: Plan, *arms: str) -> Plan:
    return marked(made, {one.id: "no" for one in made.launches if one.arm not in arms})


def test_an_experiment_of_which_nothing_can_run() -> None:
    some = diagnosis(plan=all_but(plan(), "nccl"), preflight=Preflight())
    assert {cell.arm for cell in some.cells if not cell.reason} == {"nccl"}
    assert some.can_run
    assert not diagnosis(plan=all_but(plan()), preflight=Preflight()).can_run


def test_what_an_experiment_lacks_is_missing_and_no_cell_of_it_is_ok() -> None:
    found = diagnosis(plan=plan(), preflight=Preflight(missing=["model.path: there is none"]))
    assert finding(found, "experiment").found == "model.path: there is none"
    assert not found.can_run
    assert {cell.reason for cell in found.cells} == {"experiment: model.path: there is none"}


def test_a_cell_keeps_its_own_reason_beside_what_all_lack() -> None:
    """And the first of several things that are missing is named, with how many there are."""
    found = diagnosis(
        engine=EnginePackages(), plan=all_but(plan(), "nccl"), preflight=Preflight(missing=["m"])
    )
    reasons = {cell.arm: cell.reason for cell in found.cells}
    assert reasons["default"] == "no"
    assert reasons["nccl"] == "SGLang: not installed (and 1 more missing)"


def test_what_is_missing_blocks_no_presets() -> None:
    found = diagnosis(engine=EnginePackages(), presets=plan())
    assert finding(found, "SGLang").state == "note"
    assert {cell.reason for cell in found.cells} == {""}


def test_this_machine_alone(tmp_path: Path) -> None:
    done = servegate("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["experiment"] is None
    assert len(found["cells"]) == 12
    assert {"GPUs", "nvcc", "memory and disk"} <= {one["name"] for one in found["findings"]}


def test_an_experiment_on_the_fake_engine_runs_anywhere(tmp_path: Path) -> None:
    done = servegate("doctor", experiment(tmp_path), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [cell["reason"] for cell in json.loads(done.stdout)["cells"]] == ["", ""]


def test_the_study_on_a_machine_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell says why, whatever machine this test runs on."""
    monkeypatch.setattr(cli_doctor, "look", lambda _runs, _environ: Host())
    monkeypatch.setattr(cli_doctor, "preflight", lambda _plan, _spec, **_: Preflight())
    monkeypatch.setattr(cli_doctor, "probe", lambda _python: ENGINE)
    speed = EXPERIMENTS / "qwen3.5-mixedcomm-speed.yaml"
    found = cli_doctor.examine(speed, None, None, None, Console())
    assert {cell.reason for cell in found.cells} == {"needs 8 GPUs, this machine has 0"}
    assert len(found.cells) == 9
    assert cli_doctor.show(found, Console(), as_json=True) == 3


def test_arch_without_build_is_a_usage_error(tmp_path: Path) -> None:
    done = servegate("doctor", "--arch", "9.0", cwd=tmp_path)
    assert (done.returncode, "give --build, too" in done.stderr) == (2, True)
