"""What a gate on a score can find at all, given how the reference scores; pure."""

from __future__ import annotations

import numpy as np

from pipeline.stats.paired import difference_of

__all__ = ["out_of_reach"]


def out_of_reach(
    score: float, questions: int, margin: float, alpha: float, *, comparisons: int, repeats: int
) -> str:
    """Why not even an arm with no right answer would be called regressed; "" if it would.

    Args:
        score: The reference's share of right answers; of a rate that hurts, what it leaves to 1.
        questions: How many were asked.
        margin: The gate's.
        alpha: One-sided error rate of all comparisons together.
        comparisons: How many share it (Holm).
        repeats: Answers to each question. With several, all that is said is whether the loss can
            exceed the margin: how it would spread over questions is not known from the score.
    """
    if score <= margin:
        return (
            f"the reference has {score:.2%}, so that no arm can lose more than the margin, "
            f"{margin:.2%}"
        )
    right = round(score * questions)
    lost = difference_of(-np.repeat([1.0, 0.0], [right, questions - right]), alpha)
    p = min(1.0, lost.p_lower * comparisons)
    if repeats == 1 and p >= alpha:
        return (
            f"the reference has {score:.2%}, and the loss of all {right} right answers has p "
            f"{p:.2g} after Holm over {comparisons} comparisons, while alpha is {alpha:g}"
        )
    return ""
