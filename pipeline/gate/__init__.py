"""The gate: what the records of a run allow to say of every arm on every layout; pure."""

from __future__ import annotations

from pipeline.gate.judge import judge
from pipeline.gate.model import Check, Judgement, Row, Verdict

__all__ = ["Check", "Judgement", "Row", "Verdict", "judge"]
