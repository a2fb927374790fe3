"""Which accepted nights a night is held against: one pinned, and the last ones since it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.history.model import Acceptance, Night

__all__ = ["ROLLING_NIGHTS", "Baselines", "select"]

ROLLING_NIGHTS = 20
"""So many that their mean adds little to tonight's own deviation: sqrt(1 + 1/20) is 1.025."""


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What a night is held against.

    Attributes:
        pin: Name of the pinned baseline; "" where there is none.
        pinned: Its nights, by time; empty where there is none.
        rolling: The last accepted nights since the pin's, the pin's own among them, by time.
        stretches: All accepted nights before tonight by time, split where a pin was set: what
            nights differ by from one to the next is taken from inside a stretch only.
    """

    pin: str
    pinned: Sequence[Night]
    rolling: Sequence[Night]
    stretches: Sequence[Sequence[Night]]


def select(
    tonight: Night,
    nights: Sequence[Night],
    acceptances: Sequence[Acceptance],
    *,
    pin: str | None = None,
    keep: int = ROLLING_NIGHTS,
) -> Baselines:
    """The baselines of a night: only nights that began before it, and never itself.

    A pin is the newest that was set unless one is named. It opens a stretch: rolling nights older
    than it were measured before the deliberate change that it was set for.

    Args:
        tonight: The night to judge.
        nights: All nights of the experiment, by time.
        acceptances: All acceptances, in the order in which they were made.
        pin: Name of a pinned baseline; None: the newest.
        keep: How many nights the rolling baseline holds.
    """
    before = {
        night.id: night
        for night in nights
        if night.run != tonight.run and night.started_at < tonight.started_at
    }
    made = [accepted for accepted in acceptances if accepted.night in before]
    # A pin of several nights is whole or does not count: not while one of them is judged again.
    late = {accepted.pin for accepted in acceptances if accepted.night not in before}
    pins = [one for one in made if one.pin and one.pin not in late and pin in (None, one.pin)]
    chosen = pins[-1] if pins else None
    name = "" if chosen is None else chosen.pin
    ours = {accepted.night for accepted in made if accepted.pin == name != ""}
    pinned = [night for night in nights if night.id in ours]
    accepted_ids = {accepted.night for accepted in made}
    accepted = [night for night in nights if night.id in accepted_ids]
    starts = _starts(accepted, made)
    stretches: list[list[Night]] = []
    for night in accepted:
        if not stretches or night.id in starts:
            stretches.append([])
        stretches[-1].append(night)
    since = pinned[0].started_at if pinned else ""
    return Baselines(
        pin=name,
        pinned=pinned,
        rolling=[night for night in accepted if night.started_at >= since][-keep:],
        stretches=[stretch[-2 * keep :] for stretch in stretches],
    )


def _starts(accepted: Sequence[Night], acceptances: Sequence[Acceptance]) -> set[int]:
    """The first night of each pin."""
    first: dict[str, int] = {}
    for night in accepted:
        for pin in (one.pin for one in acceptances if one.night == night.id and one.pin):
            first.setdefault(pin, night.id)
    return set(first.values())
