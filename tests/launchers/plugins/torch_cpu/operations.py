"""Run by test_torch_cpu_engine: our operations beside SGLang's own, in one process.

Prints one JSON object, check -> largest difference between the two.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import torch
from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.moe.fused_moe_native import moe_forward_native

from servegate_sglang.torch_cpu import moe, norm
from servegate_sglang.torch_cpu.attention import BatchedTorchNativeBackend

HIDDEN, WIDTH = 64, 32


def norms(dtype: torch.dtype, rows: int) -> float:
    """Also with more rows than one piece, and none."""
    layer = RMSNorm(HIDDEN, eps=1e-5)
    layer.weight.data = torch.randn(HIDDEN).to(dtype)
    x, residual = torch.randn(rows, HIDDEN).to(dtype), torch.randn(rows, HIDDEN).to(dtype)
    kept = x.clone(), residual.clone()
    ours = norm.forward(layer, x, residual)
    assert torch.equal(x, kept[0]), "the input was changed"
    assert torch.equal(residual, kept[1]), "the residual was changed"
    pairs = list(zip(ours, layer.forward_native(x, residual), strict=True))
    pairs.append((norm.forward(layer, x), layer.forward_native(x)))
    return max(distance(one, other) for one, other in pairs)


def experts(count: int, chosen: int, *, elsewhere: bool = False) -> float:
    """Against SGLang's native loop, which knows no experts of other ranks: those weigh zero."""
    layer = torch.nn.Module()
    layer.num_experts = count
    layer.w13_weight = torch.nn.Parameter(torch.randn(count, 2 * WIDTH, HIDDEN) / 8)
    layer.w2_weight = torch.nn.Parameter(torch.randn(count, HIDDEN, WIDTH) / 8)
    config = SimpleNamespace(
        activation="silu",
        gemm1_alpha=None,
        gemm1_clamp_limit=None,
        apply_router_weight_on_input=False,
    )
    layer.moe_runner_config = config
    x = torch.randn(9, HIDDEN)
    weights, ids = torch.rand(9, count).topk(chosen)
    ids = ids.to(torch.int32)
    if elsewhere:
        away = torch.arange(9) % 2 == 0
        theirs = weights.masked_fill(away[:, None], 0.0), ids
        ids = ids.masked_fill(away[:, None], -1)
    else:
        theirs = weights, ids
    expected = moe_forward_native(layer, x, (*theirs, None), config)
    method = SimpleNamespace(moe_runner_config=config)
    given = SimpleNamespace(hidden_states=x, topk_output=(weights, ids, None))
    return distance(moe.forward(method, layer, given).hidden_states, expected)


def decode(heads: int, kv_heads: int, dtype: torch.dtype) -> float:
    """Requests of several lengths, a padding row among them, against SGLang's loop."""
    lengths = torch.tensor([5, 1, 17, 33])
    slots, size = 64, 16
    keys = torch.randn(slots, kv_heads, size).to(dtype)
    values = torch.randn(slots, kv_heads, size).to(dtype)
    table = torch.stack([torch.randperm(slots - 1)[:40] + 1 for _ in range(6)]).to(torch.int32)
    rows = torch.tensor([3, 0, 5, 1])
    query = torch.randn(4, heads, size).to(dtype)
    ours, theirs = torch.empty_like(query), torch.empty_like(query)
    backend: Any = BatchedTorchNativeBackend.__new__(BatchedTorchNativeBackend)
    backend._slots = backend._mask = None
    arguments = (keys, values, table, rows, lengths)
    for _ in range(2):  # the second layer uses the first one's slots
        backend._run_sdpa_forward_decode(query, ours, *arguments, scaling=0.3, enable_gqa=True)
    stock: Any = TorchNativeAttnBackend.__new__(TorchNativeAttnBackend)
    stock._run_sdpa_forward_decode(query, theirs, *arguments, scaling=0.3, enable_gqa=True)
    return distance(ours, theirs)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    return float((one.float() - other.float()).abs().max()) if one.numel() else 0.0


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = {
            "norm bfloat16": norms(torch.bfloat16, 3),
            "norm bfloat16, two pieces": norms(torch.bfloat16, norm.ROWS + 5),
            "norm float32": norms(torch.float32, 3),
            "norm of nothing": norms(torch.bfloat16, 0),
            "all experts": experts(4, 4),
            "half the experts": experts(4, 2),
            "few of many experts": experts(16, 2),
            "experts elsewhere": experts(4, 2, elsewhere=True),
            "few of many, some elsewhere": experts(16, 2, elsewhere=True),
            "decode": decode(6, 2, torch.float32),
            "decode, no groups": decode(4, 4, torch.float32),
            "decode bfloat16": decode(6, 2, torch.bfloat16),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
