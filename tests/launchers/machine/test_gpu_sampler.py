"""GPUs watched while something runs, with a stand-in for NVML."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from launchers.machine import gpu_sampler
from launchers.machine.gpu_sampler import Sample, sampled, summary_of, visible


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two cards that answer by handle; change an answer, or make one raise."""
    answers: dict[str, Any] = {
        "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 2,
        "nvmlDeviceGetHandleByIndex": lambda index: f"card {index}",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle[-1]}".encode(),
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
        "nvmlDeviceGetClockInfo": lambda handle, kind: 1980 - 100 * int(handle[-1]) - kind,
        "nvmlDeviceGetTemperature": 61, "nvmlDeviceGetPowerUsage": 700_500,
    }  # fmt: skip

    def reader(name: str) -> Any:
        def read(*arguments: Any) -> Any:
            answer = answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return read

    for name in answers:
        monkeypatch.setattr(pynvml, name, reader(name))
    return answers


def _watch(file: Path, seconds: float = 0.1, **environ: str) -> dict[str, Any]:
    with sampled(file, environ, interval_s=0.02) as sampling:
        time.sleep(seconds)
    assert not any(thread.name == "gpu-sampler" for thread in threading.enumerate())
    return sampling.summary()


def test_samples_are_kept_and_summed_up(cards: dict[str, Any], tmp_path: Path) -> None:
    found = _watch(tmp_path / "gpu.jsonl")
    assert found["problem"] == ""
    first, second = found["gpus"]
    lines = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert first["samples"] == second["samples"] == len(lines) / 2 > 1
    assert lines[1] == {
        "at_s": lines[0]["at_s"], "gpu": 1, "sm_mhz": 1879, "memory_mhz": 1878,
        "temperature_c": 61, "power_w": 700.5, "reasons": ["sw_power_cap"],
    }  # fmt: skip
    assert second["sm_mhz"] == {"min": 1879, "median": 1879, "max": 1879}
    assert second["limited"] == {"sw_power_cap": 1.0}


def test_only_what_the_server_sees(cards: dict[str, Any], tmp_path: Path) -> None:
    found = _watch(tmp_path / "gpu.jsonl", CUDA_VISIBLE_DEVICES="1")
    assert [gpu["gpu"] for gpu in found["gpus"]] == [1]
    hidden = _watch(tmp_path / "none.jsonl", CUDA_VISIBLE_DEVICES="")
    assert hidden == {
        "problem": "no GPU of this machine is visible (CUDA_VISIBLE_DEVICES=)", "gpus": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        ("GPU-b", [1]),
        ("0,7,1", [0]),  # CUDA stops at the first that is not there
        ("GPU-", []),  # which of them?
        ("", []),
    ],
)
def test_visible_devices_as_cuda_reads_them(devices: str | None, expected: list[int]) -> None:
    assert visible(devices, {0: "GPU-a1", 1: "GPU-b2", 2: "GPU-c3"}) == expected


def test_without_a_driver_there_is_nothing_but_the_reason(
    cards: dict[str, Any], tmp_path: Path
) -> None:
    cards["nvmlInit"] = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    found = _watch(tmp_path / "gpu.jsonl")
    assert found["gpus"] == []
    assert found["problem"].startswith("NVML: ")
    assert not (tmp_path / "gpu.jsonl").exists()


def test_what_a_card_does_not_tell_stays_empty(cards: dict[str, Any], tmp_path: Path) -> None:
    unknown = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    cards["nvmlDeviceGetPowerUsage"] = unknown
    cards["nvmlDeviceGetCurrentClocksThrottleReasons"] = unknown
    found = _watch(tmp_path / "gpu.jsonl")
    assert found["problem"] == ""
    assert found["gpus"][0]["power_w"] is None
    assert found["gpus"][0]["busy_samples"] is None


def test_a_lost_card_ends_the_sampling_and_is_told(cards: dict[str, Any], tmp_path: Path) -> None:
    cards["nvmlDeviceGetTemperature"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    assert "sampling ended early: GPU is lost" in _watch(tmp_path / "gpu.jsonl")["problem"]


def test_a_driver_that_hangs_holds_nobody_up(
    cards: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    cards["nvmlDeviceGetTemperature"] = lambda *_: over.wait(30)
    monkeypatch.setattr(gpu_sampler, "_END_WITHIN_S", 0.1)
    began = time.monotonic()
    with sampled(tmp_path / "gpu.jsonl", {}, interval_s=0.02) as sampling:
        pass
    assert time.monotonic() - began < 10
    assert "did not answer" in sampling.summary()["problem"]
    over.set()
    for thread in threading.enumerate():
        if thread.name == "gpu-sampler":
            thread.join(10)  # it must not outlive the stand-in


def test_a_reason_that_this_code_does_not_know_has_its_bit(
    cards: dict[str, Any], tmp_path: Path
) -> None:
    cards["nvmlDeviceGetCurrentClocksThrottleReasons"] = 0x8 | 0x1000
    assert _watch(tmp_path / "gpu.jsonl")["gpus"][0]["limited"] == {
        "hw_slowdown": 1.0, "unknown_0x1000": 1.0,
    }  # fmt: skip


def _sample(at: float, *reasons: str, sm: float | None = 1900) -> Sample:
    return Sample(
        at_s=at, gpu=0, sm_mhz=sm, memory_mhz=2600, temperature_c=50, power_w=300, reasons=reasons
    )


def test_shares_are_of_the_samples_in_which_the_card_was_busy() -> None:
    """Six idle samples of ten do not make a card that is throttled half of its work less so."""
    idle = [_sample(i, "gpu_idle", sm=345) for i in range(6)]
    busy = [_sample(6, "sw_power_cap", "hw_slowdown"), _sample(7, "sw_power_cap")]
    busy += [_sample(8), _sample(9, "applications_clocks_setting", "hw_slowdown")]
    (found,) = summary_of(idle + busy)
    assert (found["samples"], found["busy_samples"]) == (10, 4)
    assert found["limited"] == {"hw_slowdown": 0.5, "sw_power_cap": 0.5}
    assert found["sm_mhz"] == {"min": 345, "median": 345, "max": 1900}
