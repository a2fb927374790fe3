"""The statistics behind every verdict: pure functions, each with the source of its formula."""

from __future__ import annotations

from pipeline.stats.bootstrap import hierarchical_ratio
from pipeline.stats.decision import holm, questions_to_pass, state_of, unseen_collapse
from pipeline.stats.group_sequential import (
    Decision,
    Design,
    LaunchDesign,
    decide,
    launch_design,
    make_design,
)
from pipeline.stats.launches import LaunchRatio, launch_ratio, launches_needed
from pipeline.stats.paired import PairedDifference, paired_difference, questions_needed
from pipeline.stats.proportions import Interval, clopper_pearson, mean_score, tango

__all__ = [
    "Decision",
    "Design",
    "Interval",
    "LaunchDesign",
    "LaunchRatio",
    "PairedDifference",
    "clopper_pearson",
    "decide",
    "hierarchical_ratio",
    "holm",
    "launch_design",
    "launch_ratio",
    "launches_needed",
    "make_design",
    "mean_score",
    "paired_difference",
    "questions_needed",
    "questions_to_pass",
    "state_of",
    "tango",
    "unseen_collapse",
]
