"""A mixture of experts in a few large matrix products, for PyTorch's CPU device.

SGLang's native forward (layers/moe/fused_moe_native.py, sglang 0.5.23) sorts tokens and loops
over the experts, about 60 PyTorch calls a layer, and fails under expert parallelism, where the
experts of other ranks have the id -1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear, silu

from servegate_sglang.torch_cpu.sglang import find

METHOD = "sglang.srt.layers.quantization.unquant"

DENSE_FACTOR = 4
"""Compute every expert for every token while that is at most so many times the chosen ones'
work; beyond it, loop over the experts that were chosen."""


def forward(method: Any, layer: Any, dispatch_output: Any) -> Any:
    """Sum of each token's chosen experts, weighted; same shape as the tokens [tokens, hidden].

    Anything but plain silu experts without biases goes to SGLang's own forward.
    """
    from sglang.srt.layers.moe.token_dispatcher import StandardCombineInput

    if not _is_plain(method.moe_runner_config, layer):
        return method.forward_cpu(layer, dispatch_output)
    weights, ids, _ = dispatch_output.topk_output
    x = dispatch_output.hidden_states
    experts = layer.w13_weight.shape[0]
    run = _dense if experts <= DENSE_FACTOR * max(ids.shape[-1], 1) else _chosen
    return StandardCombineInput(hidden_states=run(layer, x, weights, ids))


def _is_plain(config: Any, layer: Any) -> bool:
    return (
        config.activation == "silu"
        and config.gemm1_alpha is None
        and config.gemm1_clamp_limit is None
        and not config.apply_router_weight_on_input
        and getattr(layer, "w13_weight_bias", None) is None
        and getattr(layer, "w2_weight_bias", None) is None
    )


def _dense(layer: Any, x: torch.Tensor, weights: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """All experts over all tokens: two matrix products; unchosen experts weigh zero."""
    experts, double, _ = layer.w13_weight.shape
    # One column more takes what belongs to other ranks (id -1).
    slots = torch.where(ids < 0, experts, ids).long()
    weight_of = torch.zeros(len(x), experts + 1, dtype=weights.dtype)
    weight_of.scatter_add_(1, slots, weights)
    gate, up = (
        linear(x, layer.w13_weight.view(experts * double, -1))
        .view(len(x), experts, 2, double // 2)
        .unbind(2)
    )
    inner = silu(gate) * up * weight_of[:, :experts, None].to(x.dtype)
    return linear(inner.view(len(x), -1), _joined_down(layer))


def _joined_down(layer: Any) -> torch.Tensor:
    """The down projections side by side, [hidden, experts * width]; laid out once a layer."""
    joined = getattr(layer, "servegate_joined_down", None)
    if joined is None:
        joined = layer.w2_weight.permute(1, 0, 2).flatten(1).contiguous()
        layer.servegate_joined_down = joined
    return joined


def _chosen(layer: Any, x: torch.Tensor, weights: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Expert after expert over the tokens that chose it, summed in float32."""
    total = torch.zeros(x.shape, dtype=torch.float32)
    for expert in ids.unique().tolist():
        if expert < 0:
            continue
        rows, places = (ids == expert).nonzero(as_tuple=True)
        gate, up = linear(x[rows], layer.w13_weight[expert]).chunk(2, dim=-1)
        out = linear(silu(gate) * up, layer.w2_weight[expert])
        total.index_add_(0, rows, out.float() * weights[rows, places, None])
    return total.to(x.dtype)


def install() -> None:
    """Register the forward for our platform through SGLang's own table (kernels/fused_op.py:375).

    Raises:
        SystemExit: the table or the method class is gone.
    """
    operator = find("sglang.kernels.fused_op", "BaseFusedOp")
    method = find(METHOD, "UnquantizedFusedMoEMethod")
    # "native" is the dispatch key of a platform that names none (platforms/interface.py).
    operator.register_oot_forward(method, forward, "native")
