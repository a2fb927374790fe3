"""A machine that is too busy to measure on: never a pass, and never a failed demo either."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
import yaml

from evals.latency.client_load import STARVED
from pipeline.cli.run import finish
from pipeline.gate import judge
from pipeline.gate.model import Verdict
from pipeline.records.record import Status
from tests.pipeline.builders import GATES, make_plan_for_test, make_run
from tests.pipeline.runs import only_run, records, servegate

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
SCORE = {"gsm8k": GATES["gsm8k"]}


def exit_code(tmp_path: Path, gates: dict[str, Any], failure: str) -> int:
    """Of ``--exit-by records``, with one latency record invalid."""
    made = make_run(make_plan_for_test(gates=gates))
    cell = made.cells("mixed-comm", 2, "latency")[1]
    made.change(cell, status=Status.INVALID, failure_class=failure, reason="the client was late")
    with pytest.raises(typer.Exit) as ended:
        finish(made.write(tmp_path), by_records=True)
    return ended.value.exit_code


def test_load_alone_fails_no_records_that_nothing_gates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(tmp_path, SCORE, STARVED) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "records: 15 of 16 ok; 1 invalid for the load of this machine, no gate on them" in said


@pytest.mark.parametrize(("gates", "failure"), [(GATES, STARVED), (SCORE, "no-token")])
def test_a_gate_or_another_fault_makes_it_count(
    tmp_path: Path, gates: dict[str, Any], failure: str
) -> None:
    assert exit_code(tmp_path, gates, failure) == 3


def test_a_gated_cell_of_a_starved_client_is_missing() -> None:
    made = make_run(make_plan_for_test())
    made.change(made.cells("mixed-comm", 2, "latency")[1], details={"client_load": [LATE]})
    judgement = judge(made.plan, made.records.values(), made.read, made.facts)
    row = next(r for r in judgement.rows if (r.arm, r.layout.attention_dp) == ("mixed-comm", 2))
    assert (judgement.verdict, judgement.exit_code) == (Verdict.MISSING, 3)
    assert "late on average" in row.reasons[0]


ITL = {"latency": {"median_itl_ms": {"margin": 0.03}}}


def headline(values: tuple[float, ...], gates: dict[str, Any]) -> str:
    """With these median ITLs of one arm's launches."""
    made = make_run(make_plan_for_test(gates=gates, dps=(2,)))
    for cell, value in zip(made.cells("nccl", 2, "latency"), values, strict=True):
        made.change(cell, metrics={**made.records[cell].metrics, "median_itl_ms": value})
    return judge(made.plan, made.records.values(), made.read, made.facts).reason


def test_launches_that_are_many_margins_apart_are_in_the_headline() -> None:
    told = headline((1.481, 18.6, 9.0), ITL)
    assert "this machine is too busy for this margin: latency median ITL of nccl on tp8" in told
    assert "is 1.481 to 18.6 ms over its 3 launches, and the margin 3 %" in told
    # Three margins apart: noisy, which is what an undecided gate says.
    assert "too busy" not in headline((10.0, 10.5, 10.9), ITL)
    # Nobody asks about speed.
    assert "too busy" not in headline((1.481, 18.6, 9.0), SCORE)


LAG = {"samples": 9, "mean_ms": 5.0, "median_ms": 1, "p99_ms": 9, "max_ms": 9, "cpu_share": 0.1}
LATE = {
    "itl_ms": 10.0, "lag": LAG, "read_at_once": 0.0, "step_median_ms": None, "step_mean_ms": None,
}  # fmt: skip


@pytest.fixture
def busy_core() -> Iterator[int]:
    """One core, saturated by four busy loops."""
    core = min(os.sched_getaffinity(0))
    loop = f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"
    hogs = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(4)]
    yield core
    for hog in hogs:
        hog.kill()
        hog.wait()


@contextmanager
def engines_elsewhere(cores: set[int]) -> Iterator[None]:
    """Keep fake engines on other cores: they hold their pace, and only clients are late."""
    over = threading.Event()

    def move() -> None:
        while not over.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "launchers.fake_engine" in process.cmdline():
                        process.cpu_affinity(sorted(cores))

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield
    finally:
        over.set()
        mover.join()


@pytest.mark.timeout(900)  # a fifth of a core, or less where other tests are on it, too
def test_the_demos_jobs_beside_a_busy_loop(tmp_path: Path, busy_core: int) -> None:
    """On the fake engine, servegate and its clients on the core that the loops saturate."""
    demo = yaml.safe_load((EXPERIMENTS / "cpu-demo.yaml").read_text(encoding="utf-8"))
    for job in demo["jobs"].values():
        if "data" in job:
            job |= {"data": str(EXPERIMENTS / job["data"]), "examples": 6}
    demo |= {
        "model": {"path": "fake/model"},
        "engine": {"name": "fake", "fake": {"itl_ms": 3.0, "ttft_ms": 5.0}},
        "launches": 1,
    }
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(demo), encoding="utf-8")
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [busy_core])  # what is started from here stays on it
    try:
        with engines_elsewhere(own - {busy_core}):
            done = servegate("run", "demo.yaml", "--exit-by", "records", cwd=tmp_path, timeout=850)
    finally:
        os.sched_setaffinity(0, own)
    assert done.returncode == 0, done.stdout + done.stderr
    found = records(only_run(tmp_path))
    assert {cell.partition("/")[2] for cell in found} == set(demo["jobs"])
    others = {r["status"] for r in found.values() if r["kind"] != "latency"}
    assert others == {"ok"}
    timed = [r for r in found.values() if r["kind"] == "latency"]
    assert {(r["status"], r["failure_class"]) for r in timed} == {("invalid", STARVED)}
    assert all(r["details"]["host"]["load_max"] > 0 for r in timed)
    assert "invalid for the load of this machine" in done.stdout
