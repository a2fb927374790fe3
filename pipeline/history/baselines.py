"""Which accepted nights a night is held against: one pinned, and the last ones since it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.history.model import Acceptance, Night

__all__ = ["FIRM_PIN", "ROLLING_NIGHTS", "Baselines", "select"]

ROLLING_NIGHTS = 20
"""So many that their mean adds little to tonight's own deviation: sqrt(1 + 1/20) is 1.025."""

FIRM_PIN = 3
"""A pin of fewer nights is provisional: its own noise is as large as what it is to find."""


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What a night is held against.

    Attributes:
        pin: Name of the pinned baseline; "" where there is none.
        pinned: Its nights, by time; empty where there is none.
        rolling: The last accepted nights since the pin's, the pin's own among them, by time.
        stretches: The accepted nights since the pin's first, by time, split where another pin was
            set: how far nights lie apart is taken from these only.
        numbers: Running numbers of the nights before tonight by the names of their runs, accepted
            or not; tonight's is their count.
    """

    pin: str
    pinned: Sequence[Night]
    rolling: Sequence[Night]
    stretches: Sequence[Sequence[Night]]
    numbers: Mapping[str, int]


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
    made = [one for one in acceptances if one.night in before and not one.withdrawn]
    # A pin of several nights is whole or does not count: not while one of them is judged again, nor
    # when one was withdrawn.
    broken = {one.pin for one in acceptances if one.night not in before or one.withdrawn}
    pins = [one for one in made if one.pin and one.pin not in broken and pin in (None, one.pin)]
    chosen = pins[-1] if pins else None
    name = "" if chosen is None else chosen.pin
    ours = {accepted.night for accepted in made if accepted.pin == name != ""}
    pinned = [night for night in nights if night.id in ours]
    accepted_ids = {accepted.night for accepted in made}
    accepted = [night for night in nights if night.id in accepted_ids]
    starts = _starts(accepted, [one for one in made if one.pin not in broken])
    since = pinned[0].started_at if pinned else ""
    current = [night for night in accepted if night.started_at >= since]
    stretches: list[list[Night]] = []
    for night in current[-2 * keep :]:
        if not stretches or night.id in starts:
            stretches.append([])
        stretches[-1].append(night)
    earlier = [night.run for night in nights if night.id in before]
    return Baselines(
        pin=name,
        pinned=pinned,
        rolling=current[-keep:],
        stretches=stretches,
        numbers={run: number for number, run in enumerate(earlier)},
    )


def _starts(accepted: Sequence[Night], acceptances: Sequence[Acceptance]) -> set[int]:
    """The first night of each pin."""
    first: dict[str, int] = {}
    for night in accepted:
        for pin in (one.pin for one in acceptances if one.night == night.id and one.pin):
            first.setdefault(pin, night.id)
    return set(first.values())
