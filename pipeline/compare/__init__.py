"""Two runs, or results that other tools made, compared question by question."""

from __future__ import annotations

from pipeline.compare.comparison import Comparison, Rules, judge_sides
from pipeline.compare.sides import NothingToCompare, Side, matched, read_sides

__all__ = [
    "Comparison",
    "NothingToCompare",
    "Rules",
    "Side",
    "judge_sides",
    "matched",
    "read_sides",
]
