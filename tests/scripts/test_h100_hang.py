"""A server that hung on a real GPU: the record has a class, and stacks name who was stopped."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from pipeline.records.folder import RunFolder
from scripts.gpu_smoke.figures_parts import hang, probes
from tests.scripts.records import RECORDS, name_of, read, runs_of

HANGS = sorted(RECORDS.glob("*/hang/hang.json"))
PROBES = sorted(RECORDS.glob("*/probes/probes.json"))


@pytest.mark.parametrize("run", runs_of("h100-hang"), ids=name_of)
def test_a_hung_server_ends_as_a_failed_record_and_is_no_pass(run: Path) -> None:
    folder = RunFolder(run)
    [record] = folder.records(folder.load_plan())
    assert (record.status.value, record.failure_class) == ("failed", "deadline")
    assert "60 s" in record.reason
    assert 60 <= record.seconds < 70
    assert record.metrics == {}
    report = read(run / "report.json")
    assert (report["verdict"], report["exit_code"]) == ("missing", 3)
    # It did not end on TERM, as a stopped process cannot.
    [launch] = run.glob("launches/*/launch.json")
    assert read(launch)["stopped"]["killed"] is True


@pytest.mark.parametrize("path", HANGS, ids=lambda path: path.parents[1].name)
def test_stacks_name_the_scheduler_that_was_stopped(path: Path) -> None:
    found = read(path)
    [stopped] = found["stopped"]
    threads = stopped["stack"]["threads"]
    assert threads[str(stopped["pid"])]["comm"] == "sglang::schedul"
    assert {one["wchan"] for one in threads.values()} == {"do_signal_stop"}
    assert stopped["stack"]["state"] == "State:\tT (stopped)"
    assert f"Process {stopped['pid']}: sglang::scheduler" in stopped["stack"]["python"]
    # Who waits for it is not stopped: it shows where a client hangs.
    for client in found["clients"]:
        assert "T (stopped)" not in client["stack"]["state"]
    for one in threads.values():
        assert "do_signal_stop" in found["stacks"][one["stack"]]
    assert found["returncode"] == 3


def test_the_figures_of_a_hang_count_its_threads() -> None:
    told = "\n".join(hang(RECORDS))
    [stopped] = read(HANGS[-1])["stopped"]
    number = len(stopped["stack"]["threads"])
    assert f"| {number} of {number} |" in told
    assert "`failed`, class `deadline`" in told


@pytest.mark.parametrize("path", PROBES, ids=lambda path: path.parents[1].name)
def test_the_profilers_cost_is_that_of_its_runs(path: Path) -> None:
    found = read(path)
    itls = found["profiler"]
    ratio = median(itls["during"]) / median(itls["before"])
    assert itls["ratio"] == pytest.approx(ratio, abs=1e-4)
    assert ratio > 1.1
    release = found["release"]
    assert release["free_mib_before"] > release["free_mib_loaded"]
    assert release["released_after_s"] < 60


def test_the_page_tells_the_newest_probes() -> None:
    found = read(PROBES[-1])
    told = "\n".join(probes(RECORDS))
    itls = found["profiler"]
    assert f"{itls['during'][0] / sorted(itls['before'])[1]:.2f} times as long" in told
    release = found["release"]
    # Both are seconds from TERM: the memory is free long before the process has ended.
    assert release["released_after_s"] < release["stopped_after_s"]
    assert f"memory was free {release['released_after_s']:.1f} s after TERM" in told
    assert f"the server gone after {release['stopped_after_s']:.1f} s." in told
