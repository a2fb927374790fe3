"""The GPUs of this machine as NVML tells them; an empty list where there are none. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pynvml

__all__ = ["describe_gpus", "gpu_state"]

_CLOCKS = {"sm": pynvml.NVML_CLOCK_SM, "memory": pynvml.NVML_CLOCK_MEM}


def describe_gpus() -> dict[str, Any]:
    """Driver and one entry a GPU, with every setting that changes its speed and nothing that moves.

    Two descriptions are equal if the same cards were set up in the same way. Clocks are in MHz,
    memory in MiB, power in W; what a card does not tell says so.
    """
    with _nvml() as there:
        if not there:
            return {"driver": None, "cuda": None, "gpus": []}
        return {
            "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
            "cuda": _told(lambda: _cuda(pynvml.nvmlSystemGetCudaDriverVersion_v2())),
            "gpus": [_describe(handle) for handle in _handles()],
        }


def gpu_state() -> list[dict[str, Any]]:
    """What moves, one entry a GPU: free memory in MiB, and the processes that use the card."""
    with _nvml() as there:
        if not there:
            return []
        return [_state(handle) for handle in _handles()]


@contextmanager
def _nvml() -> Iterator[bool]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _handles() -> list[Any]:
    return [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]


def _describe(handle: Any) -> dict[str, Any]:  # noqa: ANN401 - NVML's handles have no type
    readings: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(pynvml.nvmlDeviceGetName(handle)),
        "uuid": lambda: _text(pynvml.nvmlDeviceGetUUID(handle)),
        "capability": lambda: ".".join(map(str, pynvml.nvmlDeviceGetCudaComputeCapability(handle))),
        "memory_mib": lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // 2**20,
        "sm_clock_max_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, _CLOCKS["sm"]),
        "memory_clock_max_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, _CLOCKS["memory"]),
        "sm_clock_application_mhz": lambda: pynvml.nvmlDeviceGetApplicationsClock(
            handle, _CLOCKS["sm"]
        ),
        "memory_clock_application_mhz": lambda: pynvml.nvmlDeviceGetApplicationsClock(
            handle, _CLOCKS["memory"]
        ),
        "power_limit_w": lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
        "persistence": lambda: bool(pynvml.nvmlDeviceGetPersistenceMode(handle)),
        "compute_mode": lambda: int(pynvml.nvmlDeviceGetComputeMode(handle)),
        "ecc": lambda: bool(pynvml.nvmlDeviceGetEccMode(handle)[0]),
        "mig": lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0]),
    }
    return {name: _told(read) for name, read in readings.items()}


def _state(handle: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "free_mib": _told(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).free) // 2**20),
        "processes": _told(lambda: _processes(handle)),
    }


def _processes(handle: Any) -> list[str]:  # noqa: ANN401
    found = []
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        try:
            name = psutil.Process(process.pid).name()
        except psutil.Error:
            name = "of another namespace"
        used = process.usedGpuMemory
        found.append(f"pid {process.pid} ({name}), {0 if used is None else used // 2**20} MiB")
    return found


def _told(read: Callable[[], Any]) -> Any:  # noqa: ANN401
    try:
        return read()
    except pynvml.NVMLError as error:  # a card may not know one of them (MIG, older boards)
        return f"not told: {error}"


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
