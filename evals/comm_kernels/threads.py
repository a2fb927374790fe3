"""How many threads share the work on a trace; numpy and SQLite let each other run."""

from __future__ import annotations

import os

__all__ = ["threads"]

_MOST = 8


def threads() -> int:
    """One a core that this process may use, and no more than eight."""
    return max(1, min(_MOST, len(os.sched_getaffinity(0))))
