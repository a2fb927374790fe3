"""The exit codes of every command; scripts and CI rest on them, so they never change meaning."""

from __future__ import annotations

__all__ = ["CANNOT_VOUCH", "INTERRUPTED", "PASS", "REGRESSED", "USAGE"]

PASS = 0
REGRESSED = 1
USAGE = 2
"""The experiment file or the command line is wrong; nothing was started."""
CANNOT_VOUCH = 3
"""Inconclusive, invalid, missing, or nothing compared: never a pass."""
INTERRUPTED = 130
