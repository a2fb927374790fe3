"""Another program on a server's port: no answer of its counts, and the launch starts again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

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

_T = TypeVar("_T")

ONE_ARM: dict[str, Any] = {"arms": {"nccl": {"preset": "nccl"}}, "gates": {}}
# Reads its port from stdin: somebody else's server, which answers every question wrong.
FOREIGN = """
from launchers.fake_engine.__main__ import main
words = ["--fake", '{"accuracy": 0.0}', "--model-path", "fake/m", "--host", "0.0.0.0", "--port"]
main([*words, input()])
"""


def loads(seconds: float) -> dict[str, Any]:
    """An engine that takes this long before it listens."""
    return {"name": "fake", "fake": {"faults": [{"kind": "slow_start", "seconds": seconds}]}}


def wait_for(look: Callable[[], _T | None]) -> _T:
    end = time.monotonic() + 60
    while (seen := look()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return seen


@contextmanager
def running(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = command("run", file, "--out", file.parent / "runs")
    with subprocess.Popen(words, cwd=file.parent, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def launches(folder: Path) -> list[dict[str, Any]]:
    """Every start so far that has a process."""
    notes = []
    for path in folder.glob("runs/*/*/launches/**/launch.json"):
        with suppress(FileNotFoundError):  # a start that has just been put aside
            notes.append(json.loads(path.read_text(encoding="utf-8")))
    return [note for note in notes if note["pid"] is not None]


def port_of(note: dict[str, Any]) -> int:
    return int(note["argv"][note["argv"].index("--port") + 1])


def started(folder: Path, *, after: frozenset[int] = frozenset()) -> int:
    """The port of the next start, as soon as that has a process."""
    ports = wait_for(lambda: {port_of(note) for note in launches(folder)} - after or None)
    return ports.pop()


def events(run: Path, name: str) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] == name]


def test_a_server_that_takes_the_port_during_the_load_is_not_measured(tmp_path: Path) -> None:
    jobs = {"gsm8k": accuracy_job(), "latency": LATENCY}
    file = experiment(tmp_path, **ONE_ARM, engine=loads(4.0), jobs=jobs)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", FOREIGN], stdin=subprocess.PIPE, text=True
    ) as foreign:
        assert foreign.stdin is not None
        with running(file) as process:
            port = started(tmp_path)
            foreign.stdin.write(f"{port}\n")
            foreign.stdin.flush()
            process.wait(timeout=120)
        foreign.kill()
    run = only_run(tmp_path)
    found = records(run)
    assert {cell: (one["status"], one["attempt"]) for cell, one in found.items()} == {
        "00-nccl-dp2/gsm8k": ("ok", 2),
        "00-nccl-dp2/latency": ("ok", 2),
    }
    assert found["00-nccl-dp2/gsm8k"]["metrics"]["score"] == 1.0
    old = json.loads(
        (run / "launches/00-nccl-dp2/attempts/1/cells/gsm8k/record.json").read_text("utf-8")
    )
    assert (old["status"], old["failure_class"]) == ("failed", "port")
    assert f"another program listens on the server's port {port}: pid" in old["reason"]
    assert "fake/m" in old["reason"]
    assert processes_of(run) == []


def test_a_server_that_joins_between_two_cells_costs_the_second_only(tmp_path: Path) -> None:
    jobs = {
        "late": {**LATENCY, "output_len": 4000, "deadline_s": 1},
        "latency": LATENCY,
        "gsm8k": accuracy_job(concurrency=2),
    }
    engine = {"name": "fake", "fake": {"answer_ttft_ms": 400.0}}
    file = experiment(tmp_path, **ONE_ARM, engine=engine, jobs=jobs)
    with running(file) as process, ExitStack() as listening:
        port = started(tmp_path)
        answers = "runs/*/*/launches/00-*/cells/gsm8k/answers.jsonl"
        wait_for(lambda: list(tmp_path.glob(answers)) or None)
        # Not in the server's way: whoever asks 127.0.0.1 still reaches the server.
        listening.enter_context(socket.create_server(("127.0.0.2", port)))
        process.wait(timeout=120)
    run = only_run(tmp_path)
    found = {
        one["job"]: (one["status"], one["failure_class"], one["attempt"])
        for one in records(run).values()
    }
    assert found == {
        "late": ("failed", "deadline", 1),  # no second chance for what was no fault of the port
        "latency": ("ok", "", 1),
        "gsm8k": ("ok", "", 2),
    }
    aside = run / "launches/00-nccl-dp2/attempts/1"
    old = json.loads((aside / "cells/gsm8k/record.json").read_text(encoding="utf-8"))
    assert (old["status"], old["failure_class"]) == ("failed", "port")
    assert not (aside / "cells/latency").exists()
    assert events(run, "answers_carried") == []  # nobody knows whose they were
    assert [event["attempt"] for event in events(run, "launch_started")] == [1, 2]


def test_a_port_that_is_lost_twice_fails_the_launch(tmp_path: Path) -> None:
    file = experiment(tmp_path, **ONE_ARM, engine=loads(40.0))
    with running(file) as process, ExitStack() as listening:
        first = started(tmp_path)
        listening.enter_context(socket.create_server(("127.0.0.2", first)))
        second = started(tmp_path, after=frozenset({first}))
        listening.enter_context(socket.create_server(("127.0.0.2", second)))
        process.wait(timeout=120)
    [record] = records(only_run(tmp_path)).values()
    assert (record["status"], record["failure_class"], record["attempt"]) == ("failed", "port", 2)
    assert process.returncode == 3


def test_two_runs_side_by_side_share_no_port(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as runs:
        processes = [runs.enter_context(running(experiment(folder))) for folder in folders]
        for process in processes:
            process.wait(timeout=180)
    ports: list[set[int]] = []
    for folder in folders:
        found = records(only_run(folder))
        assert [(one["status"], one["attempt"]) for one in found.values()] == [("ok", 1)] * 2
        ports.append({port_of(note) for note in launches(folder)})
    assert ports[0].isdisjoint(ports[1])


def test_a_fixed_port_that_another_run_has_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running(experiment(first, **ONE_ARM, engine=loads(60.0))):
        port = started(first)
        file = experiment(second, **ONE_ARM, server={"port": port})
        done = servegate("run", file, "--out", second / "runs", cwd=second)
    assert done.returncode == 2
    assert f":{port} is taken by another servegate, pid " in done.stderr.replace("\n", " ")
