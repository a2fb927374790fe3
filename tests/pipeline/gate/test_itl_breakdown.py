"""The closure row: what a change of ITL is made of, and what is too good to be true."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.gate.itl_breakdown import Closure, closure
from pipeline.plan.model import LayoutKey
from pipeline.records.record import PremiseResult, Record, Status
from pipeline.stats.launches import LaunchShift, launch_shift, minus

LAYOUT = LayoutKey(tp=8, attention_dp=2, ep=4, nodes=1)


def record(arm: str, kind: str, block: int, **changes: Any) -> Record:
    made: dict[str, Any] = {
        "cell": f"{block}-{arm}/{kind}", "launch": f"{block}-{arm}", "attempt": 1, "arm": arm,
        "layout": LAYOUT, "block": block, "job": kind, "kind": kind, "status": Status.OK,
        "failure_class": "", "reason": "", "log_tail": [], "started_at": "", "ended_at": "",
        "seconds": 1.0, "settings": {}, "metrics": {}, "counts": {}, "runs": [], "details": {},
        "artifacts": {}, "premises": [],
    }  # fmt: skip
    return Record.model_validate(made | changes)


def itl(arm: str, *values: float) -> list[Record]:
    return [
        record(arm, "latency", block, metrics={"median_itl_ms": value})
        for block, value in enumerate(values)
    ]


def times(exposed: float, other: float, gaps: float, **kernels: float) -> dict[str, Any]:
    return {
        "exposed_ms": exposed, "other_kernels_ms": other, "gaps_ms": gaps,
        "step_ms": exposed + other + gaps, "compute": kernels,
    }  # fmt: skip


def traced(arm: str, *captures: dict[str, Any]) -> list[Record]:
    return [
        record(arm, "comm-kernels", block, details={"times": found})
        for block, found in enumerate(captures)
    ]


def study(moe_after: float = 6.0) -> Closure:
    """At DP 4 the study's ITL fell by 1.90 ms and its communication by 0.98."""
    reference = [*itl("nccl", 12.0, 12.2), *traced("nccl", times(1.4, 9.0, 2.0, moe=6.0))]
    arm = [*itl("mixed-comm", 10.1, 10.3)]
    arm += traced("mixed-comm", times(0.42, 9.0 + moe_after - 6.0, 1.9, moe=moe_after))
    return closure(reference, arm, 0.05)


def test_a_change_of_itl_and_what_it_is_made_of() -> None:
    row = study()
    assert row.missing == ""
    assert row.itl is not None
    assert row.itl.change_ms == pytest.approx(-1.9)
    assert {part.name: round(part.change_ms, 9) for part in row.parts} == {
        "communication": -0.98, "other kernels": 0.0, "gaps": -0.1,
    }  # fmt: skip
    assert row.explained is not None
    assert row.explained.change_ms == pytest.approx(-1.08)
    assert row.unexplained is not None
    assert row.unexplained.change_ms == pytest.approx(-0.82)
    assert row.unexplained.arm_ms - row.unexplained.reference_ms == pytest.approx(-0.82)
    assert row.traced_step is not None
    assert row.traced_step.change_ms == pytest.approx(-1.08)
    # ITL has two launches, the traces one: only the one has an interval.
    assert row.itl.interval == pytest.approx((-1.9, -1.9), abs=1e-6)
    assert row.parts[0].interval is None
    assert row.unexplained.interval is None


def test_intervals_are_over_launches() -> None:
    def side(arm: str, *exposed: float) -> list[Record]:
        return [*itl(arm, *exposed), *traced(arm, *(times(value, 9.0, 1.0) for value in exposed))]

    row = closure(side("a", 1.0, 1.2, 1.4), side("b", 1.5, 1.9, 1.7), 0.05)
    part = row.parts[0]
    # Differences 0.5, 0.7, 0.3: mean 0.5, s 0.2, t(0.95; 2) = 2.919986 on each side.
    assert part.change_ms == pytest.approx(0.5)
    assert part.interval == pytest.approx((0.5 - 2.919986 * 0.2 / 3**0.5, 0.5 + 0.337171), abs=1e-5)
    assert row.unexplained is not None
    assert row.unexplained.interval is not None
    assert row.unexplained.change_ms == pytest.approx(0.0)


@pytest.mark.parametrize(("after", "flagged"), [(4.0, True), (5.9, False), (6.6, False)])
def test_compute_that_got_faster_is_too_good(after: float, flagged: bool) -> None:
    found = study(after).too_good
    assert [(k.kernel, k.reference_ms, k.arm_ms) for k in found] == (
        [("moe", 6.0, after)] if flagged else []
    )


def test_a_kernel_that_is_gone_is_too_good_and_a_tiny_one_is_not() -> None:
    before = times(1.0, 9.0, 1.0, moe=2.0, copy=0.04)
    reference = [*itl("a", 11.0), *traced("a", before)]
    arm = [*itl("b", 9.0), *traced("b", times(1.0, 7.0, 1.0))]
    assert [kernel.kernel for kernel in closure(reference, arm, 0.05).too_good] == ["moe"]


def test_a_kernel_must_be_faster_on_every_launch() -> None:
    reference = [*itl("a", 11.0), *traced("a", *(times(1, 9, 1, moe=m) for m in (2.0, 2.1)))]
    arm = [*itl("b", 9.0), *traced("b", *(times(1, 7, 1, moe=m) for m in (1.5, 2.05)))]
    assert closure(reference, arm, 0.05).too_good == []


GOOD = [*itl("a", 11.0), *traced("a", times(1, 9, 1))]


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (itl("b", 9.0), "b has no record of traces"),
        (traced("b", times(1, 9, 1)), "b has no record of latency"),
        (
            [*itl("b", 9.0), *traced("b", {"refused": "traced on a CPU"})],
            "a trace of b has no times of a step: traced on a CPU",
        ),
        (
            [*itl("b", 9.0), *traced("b", times(1, 9, 1) | {"gaps_ms": None})],
            "a trace of b has no times of a step: no gaps_ms in it",
        ),
        (
            [record("b", "latency", 0, status=Status.FAILED, reason="late"), *traced("b", {})],
            "0-b/latency does not count (failed: late)",
        ),
        (
            [
                *itl("b", 9.0),
                record(
                    "b", "comm-kernels", 0,
                    premises=[PremiseResult(name="path", state="disproved", detail="x")],
                ),
            ],
            "0-b/comm-kernels does not count",
        ),
        ([record("b", "latency", 0), *traced("b", times(1, 9, 1))], "no latency record of b has"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(arm: list[Record], said: str) -> None:
    for row in (closure(GOOD, arm, 0.05), closure(arm, GOOD, 0.05)):
        assert row.missing.startswith(said)
        assert row.itl is None
        assert row.parts == []


def test_records_of_two_arms_or_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="one arm and layout on each side"):
        closure(GOOD, [*itl("b", 1.0), *itl("c", 1.0)], 0.05)
    other = LAYOUT.model_copy(update={"attention_dp": 4})
    with pytest.raises(ValueError, match="are not the same layout"):
        closure(GOOD, [record("b", "latency", 0, layout=other)], 0.05)
    with pytest.raises(ValueError, match="one arm and layout"):
        closure([], GOOD, 0.05)


def test_launches_of_different_blocks_are_not_paired() -> None:
    # Welch: variances 1 and 4 of two launches each, error sqrt(0.5 + 2), df 2.5^2 / (0.25 + 4).
    root2 = 2**0.5
    found = launch_shift({0: 10.0, 1: 10.0 + root2}, {2: 12.0, 3: 12.0 + 2 * root2})
    assert found.error == pytest.approx(2.5**0.5)
    assert found.df == pytest.approx(6.25 / 4.25)
    with pytest.raises(ValueError, match="at least one value"):
        launch_shift({}, {0: 1.0})


def test_a_difference_of_differences() -> None:
    one = LaunchShift(change=5.0, error=3.0, df=4, n_reference=5, n_arm=5)
    other = LaunchShift(change=2.0, error=4.0, df=8, n_reference=3, n_arm=3)
    found = minus(one, other)
    assert (found.change, found.error) == (3.0, 5.0)
    assert found.df == pytest.approx(625 / (81 / 4 + 256 / 8))
    assert minus(one, LaunchShift(change=2, error=None, df=0, n_reference=1, n_arm=1)).error is None
