"""Writes the folders of the two models: configuration and tokenizer; weights come on the host.

Run where transformers can read GGUF (the engine's interpreter): SmolLM2's configuration and
tokenizer are taken from its GGUF file; the dense model has the shape of Qwen3-1.7B and SmolLM2's
tokenizer.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

# https://huggingface.co/Qwen/Qwen3-1.7B/blob/main/config.json, with SmolLM2's vocabulary.
_DENSE: dict[str, object] = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False,
    "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 6144, "max_position_embeddings": 8192, "max_window_layers": 28,
    "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
    "use_sliding_window": False, "vocab_size": 49152,
}  # fmt: skip


def main() -> None:
    """Write smollm2/ and dense-1.7b/ below a folder."""
    from launchers.models.loading import load_gguf

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    model, tokenizer = load_gguf(options.gguf.parent, options.gguf.name)
    small, dense = options.out / "smollm2", options.out / "dense-1.7b"
    for folder in (small, dense):
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(folder)
    config = {**model.config.to_dict(), "dtype": "bfloat16"}
    config["architectures"] = [type(model).__name__]  # a GGUF names none, and SGLang asks for it
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        config.pop(key, None)  # of this machine and this file, not of the model
    _write_json(small / "config.json", config)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(small / "generation_config.json", ids)
    shutil.copy(small / "generation_config.json", dense)
    _write_json(dense / "config.json", _DENSE)


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
