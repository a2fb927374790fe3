"""Keeps the chance of any false alarm over many comparisons at one alpha."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order.

    Comparing each with alpha keeps the chance of one or more false alarms at alpha, whatever the
    dependence between the comparisons. Source: S. Holm, A simple sequentially rejective multiple
    test procedure, Scand. J. Statist. 6 (1979) 65-70. Not statsmodels' ``multipletests``, which
    gives the same (a test compares) but collects garbage at each call, 80 ms of a judgement.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - done) * p_values[index]))
        adjusted[index] = highest
    return adjusted
