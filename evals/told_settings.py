"""Settings that another program wrote beside its results, under names that can be compared.

A key counts as a setting unless it is known not to be one, so that a key of a later version is
noticed and never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["flat", "model_name", "told"]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; what is not set (null or empty) is left out."""
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            result |= flat(item, f"{name}.")
        elif item is not None and item not in ([], ""):
            result[name] = item
    return result


def told(
    values: Mapping[str, Any], *, not_settings: Iterable[str], names: Mapping[str, str]
) -> dict[str, Any]:
    """The settings among dotted values, renamed to servegate's names.

    Args:
        values: As :func:`flat` gives them.
        not_settings: Regular expressions for whole names: results, times, places, the machine.
        names: Ours by a dotted name, or by the beginning of one (ends in a dot); the longest
            that fits counts. A name that two keys would get is left as it is written.
    """
    pattern = re.compile("|".join(f"(?:{one})" for one in not_settings))
    kept = {key: value for key, value in values.items() if not pattern.fullmatch(key)}
    renamed = {key: _renamed(key, names) for key in kept}
    taken = list(renamed.values())
    return {
        renamed[key] if taken.count(renamed[key]) == 1 else key: value
        for key, value in kept.items()
    }


def _renamed(key: str, names: Mapping[str, str]) -> str:
    if key in names:
        return names[key]
    begins = [prefix for prefix in names if prefix.endswith(".") and key.startswith(prefix)]
    if not begins:
        return key
    longest = max(begins, key=len)
    return names[longest] + key.removeprefix(longest)


def model_name(value: object) -> str:
    """A model without the place that it lies in: the last part of a path or of a hub's name."""
    return str(value).rstrip("/").rpartition("/")[2]
