"""What FlashInfer's MixedComm needs of a host, asked without torch and without touching the GPU.

Pure but for one query of the driver. Nothing here creates a multicast object: on hosts that share
their NVSwitch fabric that alone can put GPUs out of service.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

GROUP_SIZES = (2, 4, 8)
"""Ranks of one node that the kernels are built for (flashinfer 0.7.2, jit/comm.py)."""

CAPABILITIES = ((9, 0), (10, 0))
"""flashinfer 0.7.2, comm/mixed_comm.py: @supported_compute_capability([90, 100]); others raise."""

OLDEST_FLASHINFER = (0, 7, 0)
"""The handler was written against 0.7.2; comm/mixed_comm.py came with flashinfer#2563."""

FORBID_VARIABLE = "SERVEGATE_FORBID_MULTICAST"

# How a host says that its GPUs must not use NVLink multicast. MixedComm always creates a multicast
# object (cuMulticastCreate), in its unicast modes too. NCCL_NVLS_ENABLE=0 says nothing inside a
# scheduler: SGLang sets it itself.
_FORBIDDEN_WHEN_1 = (
    FORBID_VARIABLE,
    "TORCH_SYMM_MEM_DISABLE_MULTICAST",
    "NVSHMEM_DISABLE_NVLS",
)

MULTICAST_OFF = {
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
    "NCCL_NVLS_ENABLE": "0",
}
"""What keeps torch, NVSHMEM and NCCL from NVLink multicast where nothing else asks for it."""

# cuda.h: CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED.
_MULTICAST_SUPPORTED = 132
_DRIVER = "libcuda.so.1"


def multicast_forbidden(environment: Mapping[str, str]) -> list[str]:
    """Variables by which this host forbids NVLink multicast, as `NAME=1`; empty: it does not."""
    return [f"{name}=1" for name in _FORBIDDEN_WHEN_1 if environment.get(name) == "1"]


def no_multicast(device: int = 0) -> str:
    """Why device `device` has no multicast as the driver tells it; "" if it has.

    A query that fails is a reason, too: what is not known to be there must not be tried.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        return f"no CUDA driver: {error}"
    handle, value = ctypes.c_int(), ctypes.c_int()
    calls: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(handle), device)),
        ("cuDeviceGetAttribute", (ctypes.byref(value), _MULTICAST_SUPPORTED, handle)),
    )
    for name, arguments in calls:
        code = getattr(driver, name)(*arguments)
        if code != 0:
            return f"{name} failed with CUDA error {code}"
    return "" if value.value == 1 else "the driver says that this device has no multicast"
