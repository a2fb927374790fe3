"""Compiles SGLang's run-time kernels for one architecture on a machine without a GPU.

Run by `prepare.sh` with the engine on PYTHONPATH, nvcc in CUDA_HOME and a stub of libcuda: a GPU
host without a network then spends no minutes in nvcc. The list is what the Llama and Qwen3 paths of
SGLang 0.5.16 ask for; a kernel that is missing here is compiled on the host, as always.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

# What the kernels' build code asks of a card; an H100's answers (CUDA 13 deviceQuery).
_CARD = SimpleNamespace(
    name="NVIDIA H100 80GB HBM3", major=9, minor=0, total_memory=85 * 10**9,
    multi_processor_count=132, L2_cache_size=50 << 20, max_threads_per_multi_processor=2048,
    warp_size=32, shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472,
    regs_per_multiprocessor=65536,
)  # fmt: skip


def pretend_card() -> None:
    """Let torch answer for a card that is not there; nothing is ever launched on it."""
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": (_CARD.major, _CARD.minor),
        "get_device_properties": _CARD,
        "get_device_name": _CARD.name,
        "mem_get_info": (84 * 10**9, _CARD.total_memory),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_args, answer=answer, **_named: answer)
    torch._C._cuda_getDeviceCount = lambda: 1


def kernels() -> dict[str, Callable[[], object]]:
    """Name and builder of each kernel; head sizes 64 and 128, bfloat16."""
    from flashinfer.jit.norm import gen_norm_module
    from sglang.jit_kernel import activation, clamp_position, kvcache, norm, rope
    from sglang.jit_kernel import resolve_future_token_ids as future

    bf16 = torch.bfloat16
    found: dict[str, Callable[[], object]] = {
        "fused_add_rmsnorm": lambda: norm._jit_fused_add_rmsnorm_module(bf16, False),
        "fused_add_rmsnorm_pdl": lambda: norm._jit_fused_add_rmsnorm_module(bf16, True),
        "activation": lambda: activation._jit_activation_module(bf16),
        "rotary": rope._jit_rotary_embedding_module,
        "flashinfer_norm": lambda: gen_norm_module().build_and_load(),
    }
    for head in (64, 128):
        found[f"qknorm{head}"] = partial(norm._jit_qknorm_module, head, bf16)
        found[f"rope{head}"] = partial(rope._jit_fused_rope_module, True, head, bf16)
    for row in (256, 384, 512, 1024, 2048):  # bytes of a token's keys: KV heads x head size x 2
        found[f"kvcache{row}"] = partial(kvcache._jit_kvcache_module, row)
    for ids in (torch.int32, torch.int64):
        found[f"clamp_{ids}"] = partial(clamp_position._jit_clamp_position_module, ids)
        found[f"future_{ids}"] = partial(future._jit_resolve_future_token_ids_module, ids)
    return found


def main() -> int:
    """Build all; exit code 1 if one could not be built."""
    pretend_card()
    failed = 0
    for name, build in kernels().items():
        began = time.monotonic()
        try:
            build()
        except Exception as error:  # noqa: BLE001 - each is told, and the others are still built
            failed += 1
            print(f"FAILED {name}: {str(error)[-900:]}", flush=True)
        else:
            print(f"built {name} in {time.monotonic() - began:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
