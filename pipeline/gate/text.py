"""How numbers stand in the reasons of a judgement."""

from __future__ import annotations

__all__ = ["as_change", "as_p", "as_points"]


def as_points(fraction: float, *, signed: bool = True) -> str:
    """A difference of fractions in percentage points, as ``-1.25 points``."""
    sign = "+" if signed else ""
    return f"{100 * fraction:{sign}.3g} points" if fraction else "0 points"


def as_change(ratio: float) -> str:
    """A ratio as the change that it is, as ``+20.1 %``."""
    return f"{100 * (ratio - 1):+.1f} %"


def as_p(p: float) -> str:
    """A p-value with two digits that count; very small ones only as such."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"
