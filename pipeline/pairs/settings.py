"""In which settings of asking and sampling two sides differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.pairs.model import SettingDiff

__all__ = ["settings_diff"]


def settings_diff(reference: Mapping[str, Any], arm: Mapping[str, Any]) -> list[SettingDiff]:
    """Every name whose value differs, in order; a name that a side lacks is unknown there."""
    return [
        SettingDiff(name=name, reference=_text(reference, name), arm=_text(arm, name))
        for name in sorted(reference.keys() | arm.keys())
        if reference.get(name, "?") != arm.get(name, "?")
    ]


def _text(side: Mapping[str, Any], name: str) -> str:
    if name not in side:
        return "?"
    value = side[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
