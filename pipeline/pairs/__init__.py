"""The same questions on two sides, put side by side for a person; pure."""

from __future__ import annotations

from pipeline.pairs.model import Flip, LevelScore, Pairing, SettingDiff, Shown
from pipeline.pairs.pairing import pair
from pipeline.pairs.settings import settings_diff

__all__ = ["Flip", "LevelScore", "Pairing", "SettingDiff", "Shown", "pair", "settings_diff"]
