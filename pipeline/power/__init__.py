"""What an experiment can show, and what it costs, before a GPU hour is spent; pure."""

from __future__ import annotations

from pipeline.power.basis import BENCHMARK_SIZES, Basis, JobBasis
from pipeline.power.impossible import impossible_gates, replicate_notes
from pipeline.power.measured import measured_basis
from pipeline.power.speeds import SpeedPower, launch_lines, mode_lines, speed_powers
from pipeline.power.statement import OperatingPoint, PowerStatement, ScorePower, power_statement

__all__ = [
    "BENCHMARK_SIZES",
    "Basis",
    "JobBasis",
    "OperatingPoint",
    "PowerStatement",
    "ScorePower",
    "SpeedPower",
    "impossible_gates",
    "launch_lines",
    "measured_basis",
    "mode_lines",
    "power_statement",
    "replicate_notes",
    "speed_powers",
]
