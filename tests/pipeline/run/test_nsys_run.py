"""A run whose kernels are traced by nsys: the server starts under it, the session ends with it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generated_traces import (
    ALL_GATHER,
    REDUCE_SCATTER,
    Collective,
    Compute,
    Part,
    Schedule,
    write_nsys,
)
from tests.pipeline.runs import experiment, only_run, records, servegate

# As 2025.3 was seen to do on a GPU: launch stays above the server and ends with it, or at once when
# its session is shut down; start takes its time, in which the server goes on.
_NSYS = """#!{python}
import pathlib, shutil, signal, subprocess, sys, time
here = pathlib.Path(__file__).parent
options = dict(a.lstrip("-").split("=", 1) for a in sys.argv[2:] if "=" in a)
verb, names = sys.argv[1], here / "names"
with (here / "calls").open("a") as calls:
    calls.write(verb + "\\n")
if verb == "launch":
    with names.open("a") as file:
        file.write(options["session-new"] + "\\n")
    rest = sys.argv[2:]
    while rest[0].startswith("--"):
        rest.pop(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the server has its own
    child = subprocess.Popen(rest)
    while child.poll() is None and names.read_text():
        time.sleep(0.05)
    if not (here / "stubborn").exists():
        names.write_text("")
    sys.exit(child.poll() or 0)
if verb == "shutdown":
    if (here / "stubborn").exists():
        sys.exit(9)
    names.write_text("")
if verb == "sessions":
    print("ID TIME STATE LAUNCH NAME")
    for name in names.read_text().split():
        print("10457 00:06 Launched 1", name)
if verb == "start":
    (here / "output").write_text(options["output"])
    time.sleep(1)
if verb == "stop":
    pathlib.Path((here / "output").read_text()).write_bytes(b"report")
if verb == "export":
    shutil.copy(here / "made.sqlite", options["output"])
"""

PAIRS = ((0, 1), (2, 3))


JOB = {
    "kind": "comm-kernels", "capture": "nsys", "concurrency": 2, "layers": 4, "deadline_s": 60,
}  # fmt: skip


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with nsys in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nsys").write_text(_NSYS.format(python=sys.executable), encoding="utf-8")
    (folder / "nsys").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def launch_note(tmp_path: Path) -> dict[str, Any]:
    [path] = only_run(tmp_path).glob("launches/*/launch.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_a_run_under_nsys(tmp_path: Path, tools: Path) -> None:
    layer: list[Part] = [
        Compute(9_000, 31_000),
        Collective(REDUCE_SCATTER, 3_001, PAIRS),
        Collective(ALL_GATHER, 5_003),
        Collective(REDUCE_SCATTER, 5_009),
        Collective(ALL_GATHER, 3_011, PAIRS),
    ]
    kernels, answers = Schedule(ranks=4, steps=8, parts=layer * 4).run()
    write_nsys(tools / "made.sqlite", [kernels], 4)
    file = experiment(
        tmp_path,
        arms={"nccl": {"preset": "nccl"}},
        layouts=[{"tp": 4, "attention_dp": [2], "ep": 4}],
        jobs={"kernels": JOB},
        gates={},
    )
    done = servegate("run", file, "--out", tmp_path / "runs", "--exit-by", "records", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verbs = (tools / "calls").read_text(encoding="utf-8").split()
    assert verbs == ["launch", "sessions", "start", "stop", "export", "sessions"]
    (record,) = records(only_run(tmp_path)).values()
    waited, alone = answers.cut()
    assert record["metrics"]["comm_without_imbalance_ms"] == pytest.approx(alone, abs=1e-9)
    assert record["metrics"]["comm_with_imbalance_ms"] == pytest.approx(waited, abs=1e-9)
    assert [p["state"] for p in record["premises"] if p["name"] == "decode kernels"] == ["proved"]
    note = launch_note(tmp_path)
    assert note["argv"][:2] == ["nsys", "launch"]
    assert (note["error"], note["tracer"]) == (None, None)


def test_a_session_that_outlives_a_server_is_told(tmp_path: Path, tools: Path) -> None:
    (tools / "stubborn").touch()
    arm = {"preset": "nccl", "fake": {"faults": [{"kind": "crash_at_start"}]}}
    file = experiment(tmp_path, arms={"nccl": arm}, jobs={"kernels": JOB}, gates={})
    servegate("run", file, "--out", tmp_path / "runs", "--exit-by", "records", cwd=tmp_path)
    (record,) = records(only_run(tmp_path)).values()
    assert (record["status"], record["failure_class"]) == ("failed", "crash")
    [session] = (tools / "names").read_text(encoding="utf-8").split()
    told = launch_note(tmp_path)["tracer"]
    assert told.startswith(f"the session {session} of nsys may still be there: nsys shutdown ended")
    lines = (only_run(tmp_path) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [e["reason"] for e in map(json.loads, lines) if e["event"] == "tracer_left"] == [told]
