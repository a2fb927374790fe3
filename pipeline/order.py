"""The order of arms inside a block, counterbalanced so that slow drift does not favour an arm."""

from __future__ import annotations

__all__ = ["counterbalanced", "williams"]


def williams(arms: int) -> list[list[int]]:
    """Rows of a Williams design: each arm once a row, each in every position equally often.

    Each arm also follows every other one equally often, so that what a launch leaves behind (a warm
    card, a filled cache) is balanced too. Even ``arms``: ``arms`` rows; odd: the rows and their
    mirror images. Source: E. J. Williams, Experimental designs balanced for the estimation of
    residual effects of treatments, Aust. J. Sci. Res. A 2 (1949) 149-168.

    Args:
        arms: Number of arms, at least 1.
    """
    first: list[int] = []
    low, high = 0, arms - 1
    while low <= high:
        first.append(low)
        if low != high:
            first.append(high)
        low, high = low + 1, high - 1
    # The zigzag 0, n-1, 1, n-2, ... has every difference mod n once: the square is balanced.
    rows = [[(arm + shift) % arms for arm in first] for shift in range(arms)]
    return rows if arms % 2 == 0 else rows + [row[::-1] for row in rows]


def counterbalanced(arms: int, block: int, *, seed: int) -> list[int]:
    """The order of arm indices in one block. Two arms alternate as A B, B A, A B, ...

    Args:
        arms: Number of arms.
        block: Number of the block, from 0.
        seed: Which row of the design comes first.
    """
    rows = williams(arms)
    return rows[(block + seed) % len(rows)]
