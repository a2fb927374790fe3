"""Two runs, or results that other tools made, compared question by question."""

from __future__ import annotations

from pipeline.compare.comparison import Comparison, Rules, judge_sides
from pipeline.compare.matching import NothingToCompare, matched
from pipeline.compare.sides import Side, read_sides

__all__ = [
    "Comparison", "NothingToCompare", "Rules", "Side", "judge_sides", "matched", "read_sides",
]  # fmt: skip
