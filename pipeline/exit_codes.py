"""How every command ends; scripts and CI rest on the codes, so they never change meaning."""

from __future__ import annotations

__all__ = ["CANNOT_VOUCH", "INTERRUPTED", "PASS", "REGRESSED", "USAGE", "UnforeseenError"]

PASS = 0
REGRESSED = 1
USAGE = 2
"""The experiment file or the command line is wrong; nothing was started."""
CANNOT_VOUCH = 3
"""Inconclusive, invalid, missing, or nothing compared: never a pass."""
INTERRUPTED = 130


class UnforeseenError(Exception):
    """Carries an error past Typer, which would end the process with 1 for it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
