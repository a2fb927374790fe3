"""The loop on the fake engine: what a run leaves behind when all goes well and when it does not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launchers.server.failures import FailureClass
from launchers.server.process import StillRunning
from pipeline.cli.app import app
from tests.pipeline.runs import (
    LATENCY,
    accuracy_job,
    command,
    experiment,
    only_run,
    processes_of,
    records,
    servegate,
)


def fault(kind: str, **settings: float) -> dict[str, object]:
    return {"preset": "nccl", "fake": {"faults": [{"kind": kind, **settings}]}}


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"no {what} within {deadline_s} s"
        time.sleep(0.05)


def test_a_run_leaves_the_folder_that_the_design_promises(tmp_path: Path) -> None:
    file = experiment(
        tmp_path,
        jobs={
            "gsm8k": accuracy_job(),
            "latency": {"kind": "latency", "input_len": 8, "output_len": 8, "concurrency": 2},
        },
        arms={"nccl": {"preset": "nccl"}, "mixed": {"preset": "mixed-comm"}},
    )
    done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    run = only_run(tmp_path)
    assert {path.name for path in run.iterdir()} >= {
        "experiment.yaml", "plan.json", "provenance.json", "events.jsonl", "launches",
        "report.html", "report.md", "report.json",
    }  # fmt: skip
    assert f"{run.relative_to(tmp_path)}" in done.stdout
    found = records(run)
    assert set(found) == {
        f"{launch}/{job}"
        for launch in ("00-nccl-dp2", "01-mixed-dp2")
        for job in ("gsm8k", "latency")
    }
    for record in found.values():
        assert (record["status"], record["failure_class"], record["attempt"]) == ("ok", "", 1)
        names = [premise["name"] for premise in record["premises"]]
        assert names == [
            "layout", "arguments", "environment", "plugins", "communication path",
        ]  # fmt: skip
    mixed = found["01-mixed-dp2/latency"]
    assert [premise["state"] for premise in mixed["premises"]] == ["proved"] * 5
    assert "no fusion" in mixed["premises"][4]["detail"]
    assert found["00-nccl-dp2/gsm8k"]["counts"]["samples"] == 40
    launch = json.loads((run / "launches/00-nccl-dp2/launch.json").read_text(encoding="utf-8"))
    assert launch["ended_at"] is not None
    assert str(launch["port"]) in launch["argv"]
    assert (run / "launches/01-mixed-dp2/witness-rank1.json").exists()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert events[0]["event"] == "run_started"
    assert events[-1]["event"] == "run_finished"
    assert processes_of(run) == []


@pytest.mark.parametrize(
    ("arm", "failure", "reason"),
    [
        (fault("crash_at_start"), "crash", "the server ended, exit code 1"),
        (fault("port_in_use"), "port", "the server ended"),
        (fault("crash_after", after_requests=4), "crash", "the server ended"),
        (fault("log_scheduler_exception", after_requests=4), "crash", "Scheduler hit an exception"),
    ],
    ids=["crash at start", "port", "crash in a job", "scheduler crash, parent alive"],
)
def test_a_failing_launch_is_recorded_and_the_next_one_goes_on(
    tmp_path: Path, arm: dict[str, object], failure: str, reason: str
) -> None:
    file = experiment(tmp_path, arms={"nccl": {"preset": "nccl"}, "bad": arm}, launches=2)
    done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    found = records(only_run(tmp_path))
    assert {cell: record["status"] for cell, record in found.items()} == {
        "00-nccl-dp2/latency": "ok",
        "01-bad-dp2/latency": "failed",
        "02-bad-dp2/latency": "failed",
        "03-nccl-dp2/latency": "ok",
    }
    for cell in ("01-bad-dp2/latency", "02-bad-dp2/latency"):
        assert found[cell]["failure_class"] == failure
        # A port that another program took is no fault of the arm: one more start.
        assert found[cell]["attempt"] == (2 if failure == "port" else 1)
        assert reason in found[cell]["reason"]
        assert found[cell]["log_tail"]
    assert done.returncode == 3
    assert processes_of(tmp_path) == []


def test_a_job_past_its_deadline_is_stopped_and_recorded(tmp_path: Path) -> None:
    job = {**LATENCY, "deadline_s": 2}
    file = experiment(
        tmp_path,
        jobs={"latency": job},
        arms={"nccl": {"preset": "nccl"}, "hung": fault("hang", after_requests=3)},
    )
    servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    record = records(only_run(tmp_path))["01-hung-dp2/latency"]
    assert (record["status"], record["failure_class"]) == ("failed", "deadline")
    assert "raise jobs.latency.deadline_s" in record["reason"]


def test_an_arm_that_ignores_its_switch_is_invalid_not_ok(tmp_path: Path) -> None:
    arm = {"preset": "mixed-comm", "fake": {"faults": [{"kind": "ignore_env"}]}}
    file = experiment(tmp_path, arms={"nccl": {"preset": "nccl"}, "mixed": arm})
    done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    record = records(only_run(tmp_path))["01-mixed-dp2/latency"]
    assert (record["status"], record["failure_class"]) == ("invalid", "premise")
    assert "no witness file of ranks [0, 1]" in record["reason"]
    assert done.returncode == 3


def test_a_switch_in_the_users_shell_does_not_reach_the_reference(tmp_path: Path) -> None:
    file = experiment(
        tmp_path, arms={"nccl": {"preset": "nccl"}, "mixed": {"preset": "mixed-comm"}}
    )
    env = {"SGLANG_USE_MIXED_COMM": "1", "SGLANG_PLUGINS": "servegate_mixed_comm"}
    servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path, env=env)
    found = records(only_run(tmp_path))
    assert {record["status"] for record in found.values()} == {"ok"}
    assert not list(only_run(tmp_path).glob("launches/00-*/witness*"))


def test_ctrl_c_stops_everything_and_resume_goes_on(tmp_path: Path) -> None:
    slow = {"kind": "latency", "input_len": 8, "output_len": 100, "concurrency": 2}
    quick = {"kind": "latency", "input_len": 8, "output_len": 4, "concurrency": 2}
    file = experiment(
        tmp_path,
        jobs={"quick": quick, "slow": slow},
        engine={"name": "fake", "fake": {"itl_ms": 20.0, "ttft_ms": 5.0}},
        gates={"quick": {"median_itl_ms": {"margin": 0.5}}},
    )
    process = subprocess.Popen(
        command("run", file, "--out", tmp_path / "runs"), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list(tmp_path.glob("runs/*/*/launches/00-*/cells/slow/job.log")), "second job")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    run = only_run(tmp_path)
    assert f"servegate run --resume {run}" in errors.replace("\n", " ").replace("  ", " ")
    assert processes_of(tmp_path) == []
    found = records(run)
    assert {cell: record["status"] for cell, record in found.items()} == {
        "00-nccl-dp2/quick": "ok",
        "00-nccl-dp2/slow": "aborted",
    }
    before = (run / "launches/00-nccl-dp2/cells/quick/record.json").read_bytes()

    done = servegate("run", "--resume", run, cwd=tmp_path)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    found = records(run)
    assert {record["status"] for record in found.values()} == {"ok"}
    assert len(found) == 4
    assert found["00-nccl-dp2/slow"]["attempt"] == 2
    assert (run / "launches/00-nccl-dp2/cells/quick/record.json").read_bytes() == before
    aside = run / "launches/00-nccl-dp2/attempts/1"
    old = json.loads((aside / "cells/slow/record.json").read_text(encoding="utf-8"))
    assert old["status"] == "aborted"
    assert (aside / "server.log").exists()


def test_kill_9_leaves_whole_records_no_server_and_a_run_that_resumes(tmp_path: Path) -> None:
    file = experiment(tmp_path, launches=2)
    process = subprocess.Popen(
        command("run", file, "--out", tmp_path / "runs"), cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: list(tmp_path.glob("runs/*/*/launches/01-*/server.log")), "second launch")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = only_run(tmp_path)
    for path in run.rglob("record.json"):
        json.loads(path.read_text(encoding="utf-8"))
    wait_for(lambda: not processes_of(tmp_path), "end of the orphaned server")
    done = servegate("run", "--resume", run, cwd=tmp_path)
    assert {record["status"] for record in records(run).values()} == {"ok"}, done.stdout
    assert len(records(run)) == 4


def test_two_runs_of_one_plan_never_share_a_folder(tmp_path: Path) -> None:
    file = experiment(tmp_path)
    for _ in range(2):
        servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("tiny/*"))) == 2


def test_a_folder_that_another_servegate_runs_is_refused(tmp_path: Path) -> None:
    import fcntl

    file = experiment(tmp_path)
    servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    run = only_run(tmp_path)
    with (run / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = servegate("run", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2
    assert "another servegate is running this folder" in done.stderr


def test_a_fixed_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = experiment(tmp_path, server={"port": port})
        done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert done.returncode == 2
    assert f"127.0.0.1:{port} is taken by" in done.stderr
    assert "server.port: null" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_unsupported_cells_are_recorded_without_a_server(tmp_path: Path) -> None:
    file = experiment(
        tmp_path,
        layouts=[{"tp": 2, "attention_dp": [1]}],
        arms={"nccl": {"preset": "nccl"}, "mixed": {"preset": "mixed-comm"}},
    )
    servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    run = only_run(tmp_path)
    record = records(run)["01-mixed-dp1/latency"]
    assert (record["status"], record["failure_class"]) == ("unsupported", "unsupported")
    assert "without attention DP" in record["reason"]
    assert not (run / "launches/01-mixed-dp1/server.log").exists()


@pytest.mark.parametrize("forbidden", ["0", "1"])
def test_a_host_that_forbids_multicast_says_so_to_every_server(
    tmp_path: Path, forbidden: str
) -> None:
    file = experiment(tmp_path, arms={"nccl": {"preset": "default"}}, gates={})
    servegate(
        "run", file, "--out", tmp_path / "runs", cwd=tmp_path,
        env={"SERVEGATE_FORBID_MULTICAST": forbidden},
    )  # fmt: skip
    facts = json.loads((only_run(tmp_path) / "launches/00-nccl-dp2/facts.json").read_text("utf-8"))
    told = facts["environment"].get("TORCH_SYMM_MEM_DISABLE_MULTICAST")
    assert told == ("1" if forbidden == "1" else None)


def test_a_job_that_cannot_be_stopped_ends_its_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next job of that launch would be measured beside what is still running."""

    def unstoppable(*_args: object, log: Path, **_kwargs: object) -> None:
        log.write_text("asked 3 of 8\n", encoding="utf-8")
        raise StillRunning("pid 7 is still there 10 s after KILL", FailureClass.STOP)

    monkeypatch.setattr("pipeline.run.launch.run_to_end", unstoppable)
    file = experiment(tmp_path, jobs={"first": LATENCY, "second": LATENCY}, gates={})
    done = CliRunner().invoke(app, ["run", str(file), "--out", str(tmp_path / "runs")])
    assert done.exit_code == 3
    kept = {(r["arm"], r["job"]): r for r in records(only_run(tmp_path)).values()}
    for arm in ("nccl", "other"):
        first, second = kept[arm, "first"], kept[arm, "second"]
        assert (first["failure_class"], first["log_tail"]) == ("stop", ["asked 3 of 8"])
        assert (second["failure_class"], second["seconds"]) == ("stop", 0.0)
