"""The GPUs of this machine as NVML tells them; an empty list where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

__all__ = ["describe_gpus"]


def describe_gpus() -> dict[str, Any]:
    """Driver and one entry a GPU: name, uuid, memory in MiB, clock in MHz, power limit in W.

    Only reads; never changes a setting of a card.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {"driver": None, "gpus": []}
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        return {
            "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
            "gpus": [_describe(handle) for handle in handles],
        }
    finally:
        pynvml.nvmlShutdown()


def _describe(handle: Any) -> dict[str, Any]:  # noqa: ANN401 - NVML's handles have no type
    readings: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(pynvml.nvmlDeviceGetName(handle)),
        "uuid": lambda: _text(pynvml.nvmlDeviceGetUUID(handle)),
        "memory_mib": lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // 2**20,
        "sm_clock_max_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "power_limit_w": lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
    }
    found: dict[str, Any] = {}
    for name, read in readings.items():
        try:
            found[name] = read()
        except pynvml.NVMLError as error:  # a card may not know one of them (MIG, older boards)
            found[name] = f"not told: {error}"
    return found


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
