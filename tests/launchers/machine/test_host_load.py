from __future__ import annotations

import os
from pathlib import Path

import pytest

from launchers.machine.host_load import HostWatch


def _tell(proc: Path, avg10: float, total_us: int) -> None:
    (proc / "pressure").mkdir(exist_ok=True)
    (proc / "pressure" / "cpu").write_text(
        f"some avg10={avg10:.2f} avg60=0.00 avg300=0.00 total={total_us}\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )


def test_pressure_is_the_share_of_the_time_in_which_a_task_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, loads = [100.0], iter([(1.5, 0.0, 0.0), (7.25, 0.0, 0.0), (3.0, 0.0, 0.0)])
    monkeypatch.setattr("launchers.machine.host_load.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(os, "getloadavg", lambda: next(loads))
    _tell(tmp_path, 10.0, 5_000_000)
    watch = HostWatch(tmp_path)
    clock[0] = 100.5
    watch.look()  # within the first second: not read again
    clock[0] = 104.0
    _tell(tmp_path, 62.5, 7_500_000)
    watch.look()
    clock[0] = 110.0
    _tell(tmp_path, 20.0, 9_000_000)
    seen = watch.summary()
    assert seen.pressure == 0.4  # 4 of 10 seconds
    assert seen.pressure_max == 0.625
    assert (seen.load_before, seen.load_max, seen.load_after) == (1.5, 7.25, 3.0)
    assert seen.usable_cores == len(os.sched_getaffinity(0)) <= seen.host_cores


@pytest.mark.parametrize("text", [None, "", "some avg10=x total=1", "full avg10=1.0"])
def test_a_kernel_that_does_not_tell_pressure_still_has_a_load(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "pressure").mkdir()
        (tmp_path / "pressure" / "cpu").write_text(text)
    seen = HostWatch(tmp_path).summary()
    assert (seen.pressure, seen.pressure_max) == (None, None)
    assert seen.load_max >= 0
