"""Clocks, temperature, power and throttle reasons of GPUs while something runs, through NVML."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

# Reasons that say nothing is wrong: an idle card, and clocks that somebody set.
_QUIET = ("gpu_idle", "applications_clocks_setting")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One GPU at one moment; None for what the card does not tell.

    Attributes:
        at_s: Seconds since the first sample.
        gpu: NVML's index.
        sm_mhz: Clock of the multiprocessors.
        memory_mhz: Clock of the memory.
        temperature_c: Of the chip.
        power_w: Drawn.
        reasons: Why the clock is not higher, by NVML's names.
    """

    at_s: float
    gpu: int
    sm_mhz: float | None
    memory_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    reasons: Sequence[str] | None


def summary_of(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """One entry a GPU in order: samples, spans of what was read, and shares of each reason.

    ``limited`` gives, for each reason but idleness and set clocks, the share of those samples that
    have it in which the card was not idle: a server that waits for requests is not throttled less.
    ``busy_samples`` counts them.
    """
    found: list[dict[str, Any]] = []
    for gpu in sorted({sample.gpu for sample in samples}):
        own = [sample for sample in samples if sample.gpu == gpu]
        told = [sample.reasons for sample in own if sample.reasons is not None]
        busy = [reasons for reasons in told if "gpu_idle" not in reasons]
        counted = Counter(name for reasons in busy for name in reasons if name not in _QUIET)
        found.append(
            {
                "gpu": gpu,
                "samples": len(own),
                "sm_mhz": _span([sample.sm_mhz for sample in own]),
                "memory_mhz": _span([sample.memory_mhz for sample in own]),
                "temperature_c": _span([sample.temperature_c for sample in own]),
                "power_w": _span([sample.power_w for sample in own]),
                "busy_samples": len(busy) if told else None,
                "limited": {name: count / len(busy) for name, count in sorted(counted.items())},
            }
        )
    return found


def _span(values: Sequence[float | None]) -> dict[str, float] | None:
    """Least, median and largest; None where none was told."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"min": min(known), "median": statistics.median(known), "max": max(known)}


INTERVAL_S = 0.5
# NVML may block in a broken driver; a cell is not held up by that.
_END_WITHIN_S = 5.0

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h, nvmlClocksEventReasons).
_REASONS = {
    "gpu_idle": 0x1,
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clock_setting": 0x100,
}


class Sampling:
    """What a sampler has seen so far.

    Attributes:
        problem: Why there are no samples, or fewer than there should be; "" if nothing went wrong.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._samples: list[Sample] = []
        self._over = threading.Event()

    def summary(self) -> dict[str, Any]:
        """One entry a GPU, and what went wrong: JSON values for a record's details."""
        return {"problem": self.problem, "gpus": summary_of(list(self._samples))}

    def _run(self, file: Path, devices: str | None, interval_s: float) -> None:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.problem = f"NVML: {error}"
            return
        try:
            self._sample(file, devices, interval_s)
        except (pynvml.NVMLError, OSError) as error:
            self.problem = f"sampling ended early: {error}"
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _sample(self, file: Path, devices: str | None, interval_s: float) -> None:
        handles = {
            index: pynvml.nvmlDeviceGetHandleByIndex(index)
            for index in range(pynvml.nvmlDeviceGetCount())
        }
        uuids = {index: _text(pynvml.nvmlDeviceGetUUID(one)) for index, one in handles.items()}
        wanted = visible(devices, uuids)
        if not wanted:
            self.problem = f"no GPU of this machine is visible (CUDA_VISIBLE_DEVICES={devices})"
        began = time.monotonic()
        with file.open("w", encoding="utf-8") as out:
            while wanted:
                at = round(time.monotonic() - began, 3)
                for index in wanted:
                    sample = Sample(at_s=at, gpu=index, **_read(handles[index]))
                    self._samples.append(sample)
                    out.write(json.dumps(sample.__dict__) + "\n")
                out.flush()
                if self._over.wait(interval_s):
                    return


@contextmanager
def sampled(
    file: Path, environ: Mapping[str, str], interval_s: float = INTERVAL_S
) -> Iterator[Sampling]:
    """Sample the GPUs that a server with this environment sees, while the block runs.

    A thread of its own, which is waited for at most five seconds. NVML only reads here, and nothing
    is raised: what went wrong stands in the result's ``problem``.

    Args:
        file: JSON Lines, one a sample and GPU, written as they come.
        environ: The server's; ``CUDA_VISIBLE_DEVICES`` picks the GPUs.
        interval_s: Seconds between samples.
    """
    sampling = Sampling()
    devices = environ.get("CUDA_VISIBLE_DEVICES")
    thread = threading.Thread(
        target=sampling._run,
        args=(file, devices, interval_s),
        name="gpu-sampler",
        daemon=True,
    )
    thread.start()
    try:
        yield sampling
    finally:
        sampling._over.set()
        thread.join(_END_WITHIN_S)
        if thread.is_alive():
            sampling.problem = f"NVML did not answer within {_END_WITHIN_S:g} s; samples are lost"


def visible(devices: str | None, uuids: Mapping[int, str]) -> list[int]:
    """NVML indices of the GPUs that ``CUDA_VISIBLE_DEVICES`` lets a program see.

    Numbers are CUDA's, which are NVML's on a machine of equal cards (both go by PCI bus there).
    A GPU can also be named by the beginning of its UUID. As CUDA does, reading stops at the first
    entry that names none.

    Args:
        devices: The variable's value; None: all are seen.
        uuids: UUIDs by NVML index.
    """
    if devices is None:
        return sorted(uuids)
    found: list[int] = []
    for name in (part.strip() for part in devices.split(",")):
        if name.isdigit():
            at = [int(name)] if int(name) in uuids else []
        else:
            at = [index for index, uuid in uuids.items() if name and uuid.startswith(name)]
        if len(at) != 1:
            break
        found += at
    return found


def _read(handle: Any) -> dict[str, Any]:  # noqa: ANN401 - NVML's handles have no type
    mask = _told(lambda: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)))
    return {
        "sm_mhz": _told(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
        "memory_mhz": _told(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
        "temperature_c": _told(
            lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
        ),
        "power_w": _told(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        "reasons": None if mask is None else _names(int(mask)),
    }


def _names(mask: int) -> list[str]:
    known = [name for name, bit in _REASONS.items() if mask & bit]
    other = mask & ~sum(_REASONS.values())
    return [*known, f"unknown_{other:#x}"] if other else known


def _told(read: Callable[[], float]) -> float | None:
    try:
        return read()
    except pynvml.NVMLError as error:
        # A lost GPU ends the sampling; what a card merely does not tell stays empty.
        if error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
            raise
        return None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
