"""The gate tested on stored records: each of its rules fires when it must, and only then."""

from __future__ import annotations

from pipeline.selftest.run import cases, judged, outcomes, self_test
from pipeline.selftest.stored import Outcome, SelfTest, Stored, from_run, shipped

__all__ = [
    "Outcome",
    "SelfTest",
    "Stored",
    "cases",
    "from_run",
    "judged",
    "outcomes",
    "self_test",
    "shipped",
]
