"""SGLang's torch_native attention, decoding all requests of a batch in one call.

The stock backend (layers/attention/torch_native_backend.py, sglang 0.5.23) decodes one request
after the other: about ten PyTorch calls a request and layer, which at 60 requests and 30 layers
is most of a step. It also lacks the two fill values that attention DP asks for.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
from torch.nn.functional import scaled_dot_product_attention

from servegate_sglang.torch_cpu.sglang import find

REGISTRY = "sglang.srt.layers.attention.attention_registry"


class BatchedTorchNativeBackend(TorchNativeAttnBackend):  # type: ignore[misc]  # no types
    """torch_native with a batched decode; anything but plain causal decode goes to SGLang's."""

    def __init__(self, model_runner: Any) -> None:
        super().__init__(model_runner)
        self._slots: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None

    def init_forward_metadata(self, forward_batch: Any) -> None:
        """Forget the last step's cache slots; the first layer of this step finds its own."""
        super().init_forward_metadata(forward_batch)
        self._slots = self._mask = None

    def get_cuda_graph_seq_len_fill_value(self) -> int:
        """The length in tokens of a padding row (forward_batch_info.py:2016)."""
        return 1

    def get_cpu_graph_seq_len_fill_value(self) -> int:
        """The length in tokens of a padding row (forward_batch_info.py:2014)."""
        return 1

    def _run_sdpa_forward_decode(  # noqa: PLR0913, PLR0917  # SGLang's signature
        self,
        query: torch.Tensor,
        output: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        req_to_token: torch.Tensor,
        req_pool_indices: torch.Tensor,
        seq_lens: torch.Tensor,
        encoder_lens: torch.Tensor | None = None,
        scaling: float | None = None,
        enable_gqa: bool = False,  # noqa: FBT001, FBT002
        causal: bool = False,  # noqa: FBT001, FBT002
        is_cross_attn: bool = False,  # noqa: FBT001, FBT002
        sliding_window_size: int | None = None,
    ) -> torch.Tensor:
        """Attend from one new token a request to that request's cached tokens.

        Shapes: query and output [requests, heads, head size], caches [slots, kv heads, head size],
        req_to_token [pool, context], req_pool_indices and seq_lens [requests].
        """
        if encoder_lens is not None or is_cross_attn or sliding_window_size is not None:
            return super()._run_sdpa_forward_decode(
                query,
                output,
                k_cache,
                v_cache,
                req_to_token,
                req_pool_indices,
                seq_lens,
                encoder_lens,
                scaling=scaling,
                enable_gqa=enable_gqa,
                causal=causal,
                is_cross_attn=is_cross_attn,
                sliding_window_size=sliding_window_size,
            )
        slots, mask = self._step_slots(req_to_token, req_pool_indices, seq_lens)
        requests, heads, size = query.shape
        kv_heads = k_cache.shape[1]
        # The query heads that share a key head stand in the query-length dimension: no key is
        # repeated, and one kernel call serves the batch.
        grouped = query.view(requests, kv_heads, heads // kv_heads, size)
        keys = k_cache[slots].transpose(1, 2).to(query.dtype)
        values = v_cache[slots].transpose(1, 2).to(query.dtype)
        attended = scaled_dot_product_attention(
            grouped, keys, values, attn_mask=mask, scale=scaling
        )
        output.copy_(attended.reshape(requests, heads, -1))
        return output

    def _step_slots(
        self, req_to_token: torch.Tensor, req_pool_indices: torch.Tensor, seq_lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cache slots [requests, longest] and their mask [requests, 1, 1, longest], once a step."""
        if self._slots is None or self._mask is None or len(self._slots) != len(seq_lens):
            longest = int(seq_lens.max())
            real = torch.arange(longest, device=seq_lens.device) < seq_lens.unsqueeze(1)
            # Slot 0 is SGLang's padding slot: always there, never a request's.
            self._slots = torch.where(real, req_to_token[req_pool_indices, :longest], 0).long()
            self._mask = real[:, None, None, :]
        return self._slots, self._mask


def install() -> None:
    """Put the batched backend where SGLang looks up torch_native (attention_registry.py:217).

    Raises:
        SystemExit: the registry or its entry is gone.
    """
    registry = find(REGISTRY, "ATTENTION_BACKENDS")
    if "torch_native" not in registry:
        raise SystemExit(f"servegate_sglang.torch_cpu: {REGISTRY} no longer knows torch_native")
    registry["torch_native"] = BatchedTorchNativeBackend
