"""The device that SGLang is told it runs on: this machine's CPUs, through plain PyTorch."""

from __future__ import annotations

import psutil
import torch
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities, SRTPlatform

from servegate_sglang.torch_cpu import collectives, patches


class TorchCpuPlatform(SRTPlatform):  # type: ignore[misc]  # SGLang ships no types
    """SGLang's out-of-tree platform over PyTorch's CPU device.

    SGLang's own CPU engine needs a CPU build of sgl_kernel, which PyPI does not have. This class
    claims nothing (no Triton, no graphs, no PyNccl), so SGLang takes its native PyTorch paths.
    The interface is sglang 0.5.23's sglang/srt/platforms/interface.py.
    """

    _enum = PlatformEnum.OOT
    device_name = "cpu"
    device_type = "cpu"
    capabilities = PlatformCapabilities()

    def get_default_attention_backend(self) -> str:
        """The one attention backend that needs no kernel library."""
        return "torch_native"

    def get_device_total_memory(self, device_id: int = 0) -> int:  # noqa: ARG002
        """The machine's memory in bytes; every rank sees the same."""
        return int(psutil.virtual_memory().total)

    def get_current_memory_usage(self, device: object = None) -> float:  # noqa: ARG002
        """Bytes that nobody could have any more; SGLang takes it from the total."""
        memory = psutil.virtual_memory()
        return float(memory.total - memory.available)

    def get_torch_distributed_backend_str(self) -> str:
        """Shared memory between the ranks of one host; Gloo where that is not safe."""
        return collectives.backend_name()

    def get_device(self, local_rank: int | None = None) -> torch.device:  # noqa: ARG002
        """The one device; SGLang puts its map of experts there under expert parallelism."""
        return torch.device("cpu")

    def get_torch_profiler_activity_str(self) -> str:
        """The activity that /start_profile is asked for; SGLang asks every platform for its own."""
        return "CPU"

    def get_torch_profiler_activity(self) -> torch.profiler.ProfilerActivity:
        """The same as torch's."""
        return torch.profiler.ProfilerActivity.CPU

    def init_backend(self) -> None:
        """Put right what SGLang only does for its own CPU engine; once a process.

        SGLang calls this while it imports its model runner (model_executor/model_runner.py:271),
        so what is patched here has been imported and no model exists yet.

        Raises:
            SystemExit: a target in SGLang is not where it was.
        """
        patches.apply_model()
