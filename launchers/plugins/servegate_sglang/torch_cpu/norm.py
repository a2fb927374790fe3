"""SGLang's RMSNorm, residual included, a few hundred rows at a time.

SGLang's native forward (layers/layernorm.py:828, sglang 0.5.23) makes seven passes over the whole
tensor in float32; with a prefill's thousands of rows none of them fits a core's cache, and they
took a third of the prefill's time. Same formula, same bits, less than half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import rms_norm

from servegate_sglang.torch_cpu.sglang import find

LAYERNORM = "sglang.srt.layers.layernorm"

ROWS = 512
"""512 rows of 768 float32 numbers are 1.5 MB: about one core's second-level cache."""


def forward(
    norm: Any,
    x: torch.Tensor,
    residual: torch.Tensor | None = None,
    post_residual_addition: torch.Tensor | None = None,
    quant_linear: Any = None,
) -> Any:
    """Normalise `x` plus `residual`, [tokens, hidden]; the result, or (result, new residual).

    Anything but the plain norm over the whole vector goes to SGLang's own forward.
    """
    plain = (
        x.dim() == 2
        and x.shape[1] == norm.hidden_size
        and post_residual_addition is None
        and norm.variance_size_override is None
        and norm.override_orig_dtype is None
        and not norm.fp32_residual
        and not norm.cast_x_before_out_mul
    )
    if not plain:
        return norm.forward_native(x, residual, post_residual_addition, quant_linear)
    return normalise(x, residual, norm.weight, norm.variance_epsilon)


def normalise(
    x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, epsilon: float
) -> Any:
    """The plain norm: in float32, rounded once, the residual rounded before the norm is not."""
    scale = weight.float()
    out = torch.empty_like(x)
    kept = None if residual is None else torch.empty_like(x)
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        # A copy even of a float32 model's input, which the caller may still need.
        wide = x[rows].to(torch.float32, copy=True)
        if residual is not None and kept is not None:
            wide += residual[rows]
            kept[rows] = wide
        out[rows] = rms_norm(wide, scale.shape, scale, epsilon)
    return out if kept is None else (out, kept)


def install() -> None:
    """Register the forward for our platform through SGLang's own table (kernels/fused_op.py:375).

    Raises:
        SystemExit: the table or the norm's class is gone.
    """
    operator = find("sglang.kernels.fused_op", "BaseFusedOp")
    # "native" is the dispatch key of a platform that names none (platforms/interface.py).
    operator.register_oot_forward(find(LAYERNORM, "RMSNorm"), forward, "native")
