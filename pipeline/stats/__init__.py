"""The statistics behind every verdict: pure functions, each with the source of its formula."""

from __future__ import annotations

from pipeline.stats.launches import LaunchRatio, launch_ratio, launches_needed
from pipeline.stats.multiplicity import holm
from pipeline.stats.paired import PairedDifference, paired_difference, questions_needed
from pipeline.stats.proportions import Interval, mean_score, tango, wilson

__all__ = [
    "Interval",
    "LaunchRatio",
    "PairedDifference",
    "holm",
    "launch_ratio",
    "launches_needed",
    "mean_score",
    "paired_difference",
    "questions_needed",
    "tango",
    "wilson",
]
