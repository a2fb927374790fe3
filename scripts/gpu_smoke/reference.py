"""Writes what a model computes in float32, by transformers on the CPU: what servers must match.

Run where the network is, on the folder that the host's servers will load (bfloat16 weights, so that
nothing but arithmetic is left to differ).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.files import split_lines

# Around the edges of kernels' blocks (16, 32, 64, 128 tokens), and as long as few-shot prompts are.
_LENGTHS = (8, 16, 17, 32, 37, 64, 65, 129, 256, 512)
_TOKENS = 16
_PASSAGES = Path(__file__).resolve().parents[2] / "evals" / "logprobs" / "texts" / "passages.jsonl"


def main() -> None:
    """Write reference.json: by prompt its ids, log-probabilities, greedy tokens and their gaps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    known = {name: entry(model, tokenizer, ids) for name, ids in prompts(tokenizer).items()}
    options.out.write_text(json.dumps(known), encoding="utf-8")
    for name, made in known.items():
        print(f"{name}: {len(made['ids'])} tokens, {made['text']!r}, first gap {made['gaps'][0]}")


def prompts(tokenizer: Any) -> dict[str, list[int]]:  # noqa: ANN401
    """Token ids by name: a question as completion and as chat, and text of many lengths."""
    lines = split_lines(_PASSAGES.read_bytes())
    text = " ".join(json.loads(line)["text"] for line in lines)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) < max(_LENGTHS):
        ids = ids * (max(_LENGTHS) // len(ids) + 1)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    chat = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    plain = {"capital": "The capital of France is", "chat-capital": chat}
    found = {
        name: tokenizer(given, add_special_tokens=False)["input_ids"]
        for name, given in plain.items()
    }
    return found | {f"text-{length}": ids[:length] for length in _LENGTHS}


@torch.no_grad()  # type: ignore[untyped-decorator]
def entry(model: Any, tokenizer: Any, ids: list[int]) -> dict[str, Any]:  # noqa: ANN401
    """What the model says of one prompt; gaps are first minus second log-probability, in nats."""
    step = model(torch.tensor([ids]), use_cache=True)
    logits = torch.log_softmax(step.logits[0], -1)
    inputs = [round(logits[i, token].item(), 5) for i, token in enumerate(ids[1:])]
    greedy, gaps, seconds = [], [], []
    for _ in range(_TOKENS):
        best = torch.log_softmax(step.logits[0, -1], -1).topk(2)
        gaps.append(round((best.values[0] - best.values[1]).item(), 5))
        seconds.append(best.indices[1].item())
        greedy.append(best.indices[0].item())
        last = torch.tensor([greedy[-1:]])
        step = model(last, past_key_values=step.past_key_values, use_cache=True)
    return {
        "ids": ids, "logprobs": inputs, "greedy": greedy, "seconds": seconds, "gaps": gaps,
        "text": tokenizer.decode(greedy),
    }  # fmt: skip


if __name__ == "__main__":
    main()
