"""Two runs, or results that other tools made, compared question by question or load by load."""

from __future__ import annotations

from pipeline.compare.benchmarks import DEFAULT_METRICS, LoadComparison, compare_loads
from pipeline.compare.comparison import Comparison, Rules, judge_sides
from pipeline.compare.content import NothingToCompare, matched
from pipeline.compare.given import Given, read_given
from pipeline.compare.sides import Side

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Given",
    "LoadComparison",
    "NothingToCompare",
    "Rules",
    "Side",
    "compare_loads",
    "judge_sides",
    "matched",
    "read_given",
]
