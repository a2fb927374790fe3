"""Whether a server computes what the float32 reference computes, but for rounding; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["FAULT_NATS", "TIE_NATS", "Agreement", "agreement", "hypothesis"]

FAULT_NATS = 0.3
"""Mean error of input log-probabilities above which weights or kernels are wrong. Rounding to
bfloat16 moves those of SmolLM2-135M by 0.01 to 0.05 on average; a wrong rotary base by 1 and more.
"""

TIE_NATS = 0.5
"""Where the reference's first and second token lie closer than this, rounding may choose."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One prompt on one server against the reference.

    Attributes:
        prompt: Its name.
        length: Tokens of it.
        mean_error: Of the input log-probabilities, in nats.
        max_error: Likewise.
        max_at: Which input token has the largest error, counted from 1.
        equal: Greedy tokens that are equal before the first other one.
        asked: Greedy tokens of the reference.
        gap: First minus second log-probability of the reference where the two part, in nats; None:
            they do not part.
        verdict: ``"equal"``, ``"tie"`` (they part where rounding may choose) or ``"wrong"``.
    """

    prompt: str
    length: int
    mean_error: float
    max_error: float
    max_at: int
    equal: int
    asked: int
    gap: float | None
    verdict: str


def agreement(prompt: str, reference: Mapping[str, Any], answer: Mapping[str, Any]) -> Agreement:
    """Compare SGLang's `meta_info` with an entry that `reference.py` wrote.

    Raises:
        ValueError: The server told other tokens or fewer log-probabilities than were asked for.
    """
    told = [row for row in answer["input_token_logprobs"] if row[0] is not None]
    ids = [row[1] for row in told]
    if ids != reference["ids"][1:]:
        raise ValueError(
            f"{prompt}: the server tells log-probabilities of {len(ids)} tokens, the prompt has "
            f"{len(reference['ids']) - 1} behind its first; ask with logprob_start_len 0"
        )
    pairs = zip(told, reference["logprobs"], strict=True)
    errors = [abs(row[0] - wanted) for row, wanted in pairs]
    # "not above" and not "below": a log-probability that is no number must never pass.
    sound = sum(errors) / len(errors) <= FAULT_NATS
    tokens = [row[1] for row in answer["output_token_logprobs"]]
    equal = _common(tokens, reference["greedy"])
    parts = equal < len(reference["greedy"])
    gap = reference["gaps"][equal] if parts else None
    tie = gap is None or gap <= TIE_NATS
    return Agreement(
        prompt=prompt,
        length=len(reference["ids"]),
        mean_error=sum(errors) / len(errors),
        max_error=max(errors),
        max_at=errors.index(max(errors)) + 1,
        equal=equal,
        asked=len(reference["greedy"]),
        gap=gap,
        verdict="wrong" if not (sound and tie) else ("tie" if parts else "equal"),
    )


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = zip(left, right, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def hypothesis(wrong: Mapping[str, int | None]) -> str:
    """Which explanation is left.

    Args:
        wrong: By variant (``carried``, ``compiled``, ``torch-native``) how many prompts were wrong;
            None: it did not answer.
    """
    if None in wrong.values() or not wrong:
        missing = ", ".join(name for name, count in wrong.items() if count is None)
        return f"open: no answer from {missing or 'any variant'}"
    bad = {name for name, count in wrong.items() if count}
    if not bad:
        return "rounding: all variants compute the reference; where answers part, it has a near tie"
    if bad == {"carried"}:
        return "the carried kernels: compiled on the host they are right"
    if "torch-native" not in bad:
        return "the attention backend or its graphs: torch's attention is right"
    if bad == set(wrong):
        return "neither kernels nor attention: weights, model code or tokens"
    return f"open: wrong are {', '.join(sorted(bad))}"
