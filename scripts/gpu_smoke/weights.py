"""Rebuilds bfloat16 weights of a Llama model from a GGUF file with torch and gguf alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file

_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "ffn_down": "mlp.down_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}  # fmt: skip
_OTHER = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
}  # fmt: skip


def main() -> None:
    """Write model.safetensors beside the config.json of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    config = json.loads((options.folder / "config.json").read_text(encoding="utf-8"))
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    made = {}
    for tensor in GGUFReader(options.gguf).tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        shape = [int(size) for size in tensor.shape][::-1]
        name, kind = renamed(tensor.name)
        weight = values.reshape(shape)
        if kind in heads:
            weight = unpermuted(weight, heads[kind])
        made[name] = weight.to(torch.bfloat16).contiguous()
    save_file(made, options.folder / "model.safetensors", metadata={"format": "pt"})
    print(f"{len(made)} tensors, {sum(w.numel() for w in made.values()) / 1e6:.1f} M weights")


def renamed(name: str) -> tuple[str, str]:
    """Name in transformers of a GGUF tensor, and its kind.

    Raises:
        KeyError: No tensor of a Llama model.
    """
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.weight", parts[2]
    return f"{_OTHER[parts[0]]}.weight", parts[0]


def unpermuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys as transformers has them.

    llama.cpp stores them permuted for its rotary embedding (convert_hf_to_gguf.py, `permute`).
    """
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


if __name__ == "__main__":
    main()
