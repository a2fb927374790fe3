"""A smaller set of questions is a seeded sample in which every difficulty has its share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evals.questions import Question, digest

__all__ = ["in_random_order", "sample"]


def sample(questions: Sequence[Question], size: int, seed: int) -> list[Question]:
    """Choose `size` questions, each level in proportion, in their original order.

    Inside a level the order is that of a hash of seed and id, so the choice depends neither on
    the order of the file nor on Python's random numbers, and a larger sample of the same seed
    keeps what a smaller one had of that level while its share grows. Shares are rounded by
    largest remainder.

    Raises:
        ValueError: `size` is not in 1..len(questions).
    """
    if not 1 <= size <= len(questions):
        raise ValueError(f"cannot choose {size} of {len(questions)} questions")
    levels: dict[str | None, list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        levels[question.level].append(index)
    chosen: list[int] = []
    for level, count in _shares({k: len(v) for k, v in levels.items()}, size).items():
        ranked = sorted(levels[level], key=lambda i: digest([seed, questions[i].id]))
        chosen.extend(ranked[:count])
    return [questions[index] for index in sorted(chosen)]


def in_random_order(questions: Sequence[Question], seed: int) -> list[Question]:
    """The order in which a staged job asks: by a hash of seed and id, alike for every arm.

    A stage is then a random sample of the questions, and depends neither on the order of the file
    nor on Python's random numbers.
    """
    return sorted(questions, key=lambda question: digest([seed, "order", question.id]))


def _shares(sizes: dict[str | None, int], total: int) -> dict[str | None, int]:
    """Split `total` over the levels in proportion to their sizes, exactly."""
    everything = sum(sizes.values())
    shares = {level: total * size // everything for level, size in sizes.items()}
    # Integer remainders: no rounding can make two machines disagree about a tie.
    by_remainder = sorted(
        sizes, key=lambda level: (-(total * sizes[level] % everything), str(level))
    )
    for level in by_remainder[: total - sum(shares.values())]:
        shares[level] += 1
    return shares
