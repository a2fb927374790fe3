"""What SGLang 0.5.16 wrote on a real GPU, through the readers that CI runs on 0.5.23."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evals.latency.outcome import MEASURED, Asked, bench_file, read_cell, read_run
from pipeline.plan.model import Launch, Plan
from pipeline.premises.arguments import arguments, asked_flags, layout
from pipeline.premises.log_patterns import SIGNS
from pipeline.premises.observed import Claims, Evidence
from pipeline.records.facts import resolved_arguments
from pipeline.records.folder import LaunchFolder, RunFolder
from tests.scripts.records import RUNS, name_of, read, runs_of

TOLD = sorted(path.parent for run in RUNS for path in run.glob("launches/*/server_info.json"))
BENCHES = sorted(
    path for run in runs_of("h100-smoke") for path in run.glob("launches/*/cells/*/bench-2.jsonl")
)


def test_there_is_something_of_0_5_16_to_read() -> None:
    assert TOLD
    assert BENCHES


def planned(folder: Path) -> tuple[Plan, Launch]:
    plan = RunFolder(folder.parents[1]).load_plan()
    [launch] = [one for one in plan.launches if one.id == folder.name]
    return plan, launch


def id_of(folder: Path) -> str:
    return f"{name_of(folder.parents[1])}-{folder.name}"


@pytest.mark.parametrize("folder", TOLD, ids=id_of)
def test_server_info_proves_what_it_proved_on_the_host(folder: Path) -> None:
    plan, launch = planned(folder)
    info = read(folder / "server_info.json")
    evidence = Evidence(server_info=info, environ={}, witnesses=[])
    path = next(folder.glob("cells/*/record.json"))
    noted = {one["name"]: one for one in read(path)["premises"]}
    for premise in (layout, arguments):
        found = premise(Claims.of(plan, launch), evidence).model_dump()
        assert found == noted[found["name"]]
        assert found["state"] == "proved"


@pytest.mark.parametrize("folder", TOLD, ids=id_of)
def test_facts_are_the_arguments_of_server_info(folder: Path) -> None:
    plan, launch = planned(folder)
    assert plan.engine_version == "0.5.16"
    asked = frozenset(flag for flag, _ in asked_flags(launch.argv))
    found = resolved_arguments(read(folder / "server_info.json"), planned=asked)
    facts = LaunchFolder(folder).load_facts()
    assert facts is not None
    assert found == facts.arguments
    assert facts.packages["sglang"] == "0.5.16"
    assert found["random_seed"] == 1
    # Drawn by each launch, or how it is and not how it was set up.
    assert not {"port", "nccl_port", "internal_states", "launch_command"} & found.keys()


def test_0_5_16_tells_attention_dp_by_another_name_than_0_5_23() -> None:
    for folder in TOLD:
        info = read(folder / "server_info.json")
        assert "attn_dp_size" not in info
        assert {"tp_size", "ep_size", "nnodes", "dp_size", "enable_dp_attention"} <= info.keys()


@pytest.mark.parametrize("folder", TOLD, ids=id_of)
def test_no_line_of_the_log_is_taken_for_a_sign(folder: Path, tmp_path: Path) -> None:
    log = folder / "server.log"
    text = log.read_text(encoding="utf-8")
    assert "The server is fired up and ready to roll!" in text
    assert "server_args=ServerArgs(" in text
    assert LaunchFolder(folder).log_signs(SIGNS) == {}
    # A plugin that did not load is found between these lines.
    shutil.copy(log, tmp_path / "server.log")
    with (tmp_path / "server.log").open("a", encoding="utf-8") as file:
        file.write("[2026-11-24 15:12:01] Failed to load plugin servegate_mixed_comm: no module\n")
    assert LaunchFolder(tmp_path).log_signs(SIGNS).keys() == {"plugin failed"}


@pytest.mark.parametrize("file", BENCHES, ids=lambda path: path.parents[2].name)
def test_a_result_of_0_5_16_gives_the_record_again(file: Path, tmp_path: Path) -> None:
    record = read(file.parent / "record.json")
    shutil.copy(file, bench_file(tmp_path, 1))
    asked = Asked(prompts=64, output_tokens=64 * 128, concurrency=16)
    found = read_cell(tmp_path, 0, runs=1, skip=0, asked=asked)
    assert (found.status, found.counts["itls"]) == ("ok", 64 * 127)
    second: dict[str, float] = record["runs"][1]
    for name, value in second.items():
        # Times were rounded to 0.1 microseconds; what adds them up or counts tokens shows it.
        assert found.metrics[name] == pytest.approx(value, rel=1e-3), name
    assert found.details["concurrency_seen"] == [record["details"]["concurrency_seen"][1]]


@pytest.mark.parametrize("file", BENCHES, ids=lambda path: path.parents[2].name)
def test_0_5_16_writes_every_field_that_servegate_reads(file: Path, tmp_path: Path) -> None:
    row: dict[str, Any] = read_run(file)
    lists = {"itls", "ttfts", "errors", "output_lens", "input_lens"}
    assert lists | {"duration", "completed", "total_output_tokens", "concurrency"} <= row.keys()
    bench_file(tmp_path, 1).write_text(json.dumps(row) + "\n", encoding="utf-8")
    asked = Asked(prompts=64, output_tokens=64 * 128, concurrency=16)
    found = read_cell(tmp_path, 0, runs=1, skip=0, asked=asked)
    # The goal of these two was not set.
    assert set(MEASURED) - found.metrics.keys() == {"goodput", "slo_attainment"}
