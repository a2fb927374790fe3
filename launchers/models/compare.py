"""Does the converted model say what the original says?"""

from __future__ import annotations

from typing import Any

import torch

from launchers.models.folder import ModelFolderError

PROMPTS = (
    "The capital of France is",
    "Tom has 3 apples and buys 4 more. How many apples does he have? The answer is",
    "def add(a, b):\n    return",
    "Water boils at",
)
NEW_TOKENS = 24
MAX_LOGIT_DIFFERENCE = 1e-2
"""Sums in another order differ by about 1e-4 in float32; a wrong weight by whole units."""


def same_answers(original: Any, converted: Any, tokenizer: Any) -> dict[str, Any]:
    """Compare greedy tokens and logits in float32, where the rewriting is exact but for rounding.

    Returns:
        What was compared, for the manifest: prompts, tokens each, largest logit difference, and
        how far into each answer the weights as stored, rounded to bfloat16, agree.

    Raises:
        ModelFolderError: a token differs, or a logit by more than MAX_LOGIT_DIFFERENCE.
    """
    inputs = [tokenizer(prompt, return_tensors="pt").input_ids for prompt in PROMPTS]
    answers = [_greedy(original, ids) for ids in inputs]
    difference = 0.0
    for prompt, ids, answer in zip(PROMPTS, inputs, answers, strict=True):
        if not torch.equal(_greedy(converted, ids), answer):
            raise ModelFolderError(f"converted model: other tokens than the original to {prompt!r}")
        difference = max(difference, _logit_difference(original, converted, answer))
    if difference > MAX_LOGIT_DIFFERENCE:
        raise ModelFolderError(f"converted model: a logit differs by {difference:.3g}")
    rounded = converted.to(torch.bfloat16)
    return {
        "dtype": "float32",
        "prompts": len(PROMPTS),
        "tokens_each": NEW_TOKENS,
        "max_logit_difference": difference,
        "same_tokens_in_bfloat16": [
            _agreeing(_greedy(rounded, ids), answer, ids.shape[1])
            for ids, answer in zip(inputs, answers, strict=True)
        ],
    }


def _greedy(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Prompt and NEW_TOKENS most likely tokens, ignoring the end of text; [1, tokens]."""
    with torch.inference_mode():
        tokens: torch.Tensor = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
        )
    return tokens


def _logit_difference(one: Any, other: Any, tokens: torch.Tensor) -> float:
    with torch.inference_mode():
        return float((one(tokens).logits - other(tokens).logits).abs().max())


def _agreeing(answer: torch.Tensor, expected: torch.Tensor, prompt_length: int) -> int:
    """Number of new tokens before the first that differs."""
    same = (answer == expected)[0, prompt_length:].tolist()
    return same.index(False) if False in same else len(same)
