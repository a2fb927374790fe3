"""What is read of GPUs through NVML, with a stand-in for the library."""

from __future__ import annotations

import types
from typing import Any

import pynvml
import pytest

from launchers.machine.gpus import describe_gpus, gpu_state


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two equal cards; change its answers, or make one raise."""
    memory = types.SimpleNamespace(total=80 * 2**30, free=70 * 2**30)
    answers: dict[str, Any] = {
        "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 2,
        "nvmlDeviceGetHandleByIndex": "handle", "nvmlSystemGetDriverVersion": b"580.1",
        "nvmlSystemGetCudaDriverVersion_v2": 13000, "nvmlDeviceGetName": b"NVIDIA H100",
        "nvmlDeviceGetUUID": "GPU-1", "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetMemoryInfo": memory, "nvmlDeviceGetMaxClockInfo": 1980,
        "nvmlDeviceGetApplicationsClock": 1755, "nvmlDeviceGetPowerManagementLimit": 700_000,
        "nvmlDeviceGetPersistenceMode": 1, "nvmlDeviceGetComputeMode": 0,
        "nvmlDeviceGetEccMode": (1, 1), "nvmlDeviceGetMigMode": (0, 0),
        "nvmlDeviceGetComputeRunningProcesses": [
            types.SimpleNamespace(pid=2**22 + 1, usedGpuMemory=512 * 2**20)
        ],
    }  # fmt: skip

    def reader(name: str) -> Any:
        def read(*_arguments: Any) -> Any:
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return read

    for name in answers:
        monkeypatch.setattr(pynvml, name, reader(name))
    return answers


def test_settings_and_nothing_that_moves(card: dict[str, Any]) -> None:
    found = describe_gpus()
    assert (found["driver"], found["cuda"], len(found["gpus"])) == ("580.1", "13.0", 2)
    assert found["gpus"][0] == {
        "name": "NVIDIA H100", "uuid": "GPU-1", "capability": "9.0", "memory_mib": 81920,
        "sm_clock_max_mhz": 1980, "memory_clock_max_mhz": 1980, "sm_clock_application_mhz": 1755,
        "memory_clock_application_mhz": 1755, "power_limit_w": 700.0, "persistence": True,
        "compute_mode": 0, "ecc": True, "mig": False,
    }  # fmt: skip
    card["nvmlDeviceGetMemoryInfo"] = types.SimpleNamespace(total=80 * 2**30, free=1)
    assert describe_gpus() == found


def test_what_a_card_does_not_tell_says_so(card: dict[str, Any]) -> None:
    card["nvmlDeviceGetEccMode"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert describe_gpus()["gpus"][0]["ecc"] == "not told: Not Supported"


def test_what_moves(card: dict[str, Any]) -> None:
    assert gpu_state()[0] == {
        "free_mib": 71680,
        "processes": [f"pid {2**22 + 1} (of another namespace), 512 MiB"],
    }


def test_without_a_driver_there_are_none(card: dict[str, Any]) -> None:
    card["nvmlInit"] = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert describe_gpus() == {"driver": None, "cuda": None, "gpus": []}
    assert gpu_state() == []
