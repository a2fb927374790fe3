"""Numbers that nobody can have measured or meant: infinities and NaN, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

__all__ = ["not_finite"]


def not_finite(value: object, where: str = "") -> Iterator[str]:
    """Each number in a JSON or YAML value that is not finite, as ``metrics.median_itl_ms is inf``.

    Args:
        value: Mappings, lists and what they hold.
        where: The value's own key path.
    """
    if isinstance(value, float):
        if not isfinite(value):
            yield f"{where} is {value}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from not_finite(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from not_finite(item, f"{where}.{index}" if where else str(index))
