"""SGLang's own Qwen2-MoE, which smollm2-moe is."""

from sglang.srt.models.qwen2_moe import EntryClass

__all__ = ["EntryClass"]
