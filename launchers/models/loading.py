"""Reading the GGUF model and writing the converted one, through transformers and safetensors."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, Qwen2MoeConfig
from transformers.models.qwen2_moe import Qwen2MoeForCausalLM

if TYPE_CHECKING:
    from pathlib import Path


def load_gguf(folder: Path, file: str) -> tuple[Any, Any]:
    """The model in float32, de-quantised, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=file)


def load_moe(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> Any:
    """Build transformers' Qwen2-MoE with these weights, in their dtype.

    Raises:
        RuntimeError: a weight that the model needs is missing, or one fits nowhere.
    """
    with torch.device("meta"), warnings.catch_warnings():
        # The shared expert of width 0 is meant.
        warnings.filterwarnings("ignore", "Initializing zero-element tensors is a no-op")
        model = Qwen2MoeForCausalLM(Qwen2MoeConfig(**config))
    state = _fuse_experts(weights, config)
    for layer in range(config["num_hidden_layers"]):
        # A shared expert of width 0: transformers builds it, the checkpoint leaves it out.
        prefix = f"model.layers.{layer}.mlp.shared_expert."
        hidden = config["hidden_size"]
        state[prefix + "gate_proj.weight"] = torch.zeros(0, hidden)
        state[prefix + "up_proj.weight"] = torch.zeros(0, hidden)
        state[prefix + "down_proj.weight"] = torch.zeros(hidden, 0)
    model.load_state_dict(state, assign=True)
    # Not a parameter, so building on the meta device left it without numbers.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    return model.eval()


def _fuse_experts(
    weights: dict[str, torch.Tensor], config: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Checkpoint names to the module's: a layer's experts stacked, gate over up."""
    state = {name: tensor for name, tensor in weights.items() if ".experts." not in name}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}.mlp.experts."
        parts = {
            kind: [
                weights[f"{prefix}{expert}.{kind}_proj.weight"]
                for expert in range(config["num_experts"])
            ]
            for kind in ("gate", "up", "down")
        }
        state[prefix + "gate_up_proj"] = torch.stack(
            [torch.cat(pair) for pair in zip(parts["gate"], parts["up"], strict=True)]
        )
        state[prefix + "down_proj"] = torch.stack(parts["down"])
    return state


def write(
    folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor], tokenizer: Any
) -> None:
    """Write config.json, generation_config.json, the weights in bfloat16, and the tokenizer."""
    tokenizer.save_pretrained(folder)
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "generation_config.json",
        {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    rounded = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
