"""One rule: everything that gives a verdict calls it, and nothing beside it gives one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import log
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gate_cost
from pipeline.compare.comparison import Rules, judge_sides
from pipeline.compare.sides import Side
from pipeline.gate import Check
from pipeline.gate.accuracy import decide_difference
from pipeline.gate.speed import decide_ratio
from pipeline.history.comparisons import decided
from pipeline.history.model import NightCheck
from pipeline.plan.model import LayoutKey
from pipeline.selftest import cases, judged, shipped
from pipeline.selftest.stored import Case
from pipeline.stats import decision, make_design
from pipeline.stats.group_sequential import decide as decide_stage
from pipeline.stats.launch_power import ratio_chances
from pipeline.stats.power import Comparison, Difficulty, rates
from tests.pipeline.builders import answer

ROOT = Path(__file__).resolve().parents[3]
ALPHA = 0.05
Rule = Callable[..., object]


def change(
    gain: float, half: float, p_worse: float = 1.0, p_better: float = 1.0
) -> decision.Change:
    return decision.Change(
        gain=gain, lower=gain - half, upper=gain + half, p_worse=p_worse, p_better=p_better
    )


@pytest.mark.parametrize(("seen", "better_by", "enough", "state"), [
    (change(-0.03, 0.02, 0.01), 0.0, True, "regressed"),
    (change(-0.03, 0.02, 0.05), 0.0, True, "undecided"),  # p at the level is not below it
    (change(-0.03, 0.04, 0.01), 0.0, True, "undecided"),  # the other bound reaches zero
    (change(-0.02, 0.005, 0.001), 0.0, True, "undecided"),  # worse, by just the margin
    (change(-0.01, 0.005, 0.001), 0.0, True, "pass"),  # worse for sure, within the margin
    (change(0.0, 0.02), 0.0, True, "undecided"),  # the bound is the margin
    (change(0.0, 0.019), 0.0, True, "pass"),
    (change(0.0, 0.019), 0.0, False, "undecided"),  # too few questions
    (change(0.03, 0.01, 1.0, 0.01), 0.0, True, "improved"),
    (change(0.03, 0.01, 1.0, 0.06), 0.0, True, "pass"),
    (change(0.03, 0.01, 1.0, 0.01), 0.04, True, "pass"),  # a gain below what is asked for
])  # fmt: skip
def test_the_states(
    seen: decision.Change, better_by: float, enough: bool, state: decision.State
) -> None:
    told = decision.decide(seen, loss=0.02, better_by=better_by, level=ALPHA, enough=enough)
    assert told == state


def test_margins_of_ratios_are_wider_upwards() -> None:
    """3 % slower is log 1.03 of a latency, and -log 0.97 of a throughput."""
    latency = decision.margins_of(0.03, higher_is_better=False, ratio=True)
    throughput = decision.margins_of(0.03, higher_is_better=True, ratio=True)
    assert latency.loss == throughput.gain == pytest.approx(log(1.03))
    assert latency.gain == throughput.loss == pytest.approx(-log(0.97))
    assert decision.margins_of(0.03, higher_is_better=True) == (0.03, 0.03)


@pytest.mark.parametrize(("interval", "state"), [
    ((0.90, 0.95), "pass"), ((0.85, 0.95), "undecided"), ((0.80, 0.89), "regressed"),
])  # fmt: skip
def test_a_level_against_a_floor_and_mirrored_against_a_ceiling(
    interval: tuple[float, float], state: decision.State
) -> None:
    assert decision.level_state(interval, interval, 0.9, higher_is_better=True) == state
    mirrored = (1 - interval[1], 1 - interval[0])
    assert decision.level_state(mirrored, mirrored, 0.1, higher_is_better=False) == state


def score_check(estimate: float, half: float) -> Check:
    return Check(
        job="gsm8k", metric="score", against="reference", gated=True, measure="difference",
        estimate=estimate, interval=(estimate - half, estimate + half), margin=0.02, n=1000,
    )  # fmt: skip


def speed_check(estimate: float, half: float) -> Check:
    return Check(
        job="latency", metric="median_itl_ms", against="reference", gated=True, measure="ratio",
        estimate=estimate, interval=(estimate - half, estimate + half), margin=0.03, n=4,
    )  # fmt: skip


def night_check(estimate: float, half: float) -> NightCheck:
    return NightCheck(
        layout=LayoutKey(tp=2, attention_dp=2, ep=1, nodes=1), arm="fast", job="latency",
        metric="median_itl_ms", baseline="pinned", measure="ratio", estimate=estimate,
        interval=(estimate - half, estimate + half), margin=0.03, n=9,
    )  # fmt: skip


def side(name: str, right: int) -> Side:
    answers = [answer(n, 0, "correct" if n < right else "wrong") for n in range(400)]
    return Side(
        source=name, job="gsm8k", benchmark="gsm8k", layout="", arm=name, answers=answers,
        settings={}, margins={},
    )  # fmt: skip


def staged(lost: int) -> str:
    design = make_design(400, 0.02, ALPHA, stages=2, alarms=1)
    reference = {str(n): 1.0 for n in range(400)}
    arm = {key: float(int(key) >= lost) for key in reference}
    return decide_stage(design, 1, reference, arm).outcome


def simulated(drop: float) -> tuple[float, float]:
    asked = Comparison(
        difficulty=Difficulty(score=0.9, within=0.05), questions=300, repeats=1,
        reference_repeats=1, margin=0.03, alpha=ALPHA, alarms=1,
    )  # fmt: skip
    told = rates(asked, drop, runs=40)
    return told.passes, told.regressed


@cache
def level_cases() -> list[Case]:
    """Cases of the self-test that hold a level against a limit: floors, and shifts."""
    every = [one for one in cases(shipped()) if isinstance(one, Case)]
    return [one for one in every if "floor" in one.name or one.metric == "logprob_shift"]


# What each caller of the rule says of something equal and of something worse.
RULES = Rules(margin=0.02, alpha=ALPHA)
CALLERS: Mapping[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "scores": (
        lambda: decide_difference(score_check(0.0, 0.01), 1.0, 1.0, ALPHA).verdict,
        lambda: decide_difference(score_check(-0.05, 0.01), 0.001, 1.0, ALPHA).verdict,
    ),
    "speeds": (
        lambda: decide_ratio(speed_check(1.0, 0.01), 1.0, 1.0, ALPHA).verdict,
        lambda: decide_ratio(speed_check(1.1, 0.01), 0.001, 1.0, ALPHA).verdict,
    ),
    "stages": (lambda: staged(0), lambda: staged(60)),
    "nights": (
        lambda: decided(night_check(1.0, 0.01), 1.0, ALPHA).verdict,
        lambda: decided(night_check(1.1, 0.01), 0.001, ALPHA).verdict,
    ),
    "compare": (
        lambda: judge_sides(side("a", 380), side("b", 380), RULES).verdict,
        lambda: judge_sides(side("a", 380), side("b", 300), RULES).verdict,
    ),
    "power of scores": (lambda: simulated(0.0), lambda: simulated(0.15)),
    "power of speeds": (
        lambda: ratio_chances(5, 0.005, 0.03, ALPHA),
        lambda: ratio_chances(5, 0.005, 0.03, ALPHA, change=0.1),
    ),
    "the cost of gates": (
        lambda: gate_cost.fixed(gate_cost.differences(200, 5, 0.0, 0.005, 1), 5, 0.03),
        lambda: gate_cost.fixed(gate_cost.differences(200, 5, 0.1, 0.005, 1), 5, 0.03),
    ),
}  # fmt: skip


def never(seen: decision.Change, *_: float) -> object:
    return np.zeros(np.shape(seen.gain), dtype=bool)[()]


@pytest.mark.parametrize("caller", CALLERS)
def test_every_caller_changes_with_the_rule(caller: str, monkeypatch: pytest.MonkeyPatch) -> None:
    equal, worse = CALLERS[caller]
    before = equal(), worse()
    with monkeypatch.context() as patch:
        patch.setattr(decision, "excludes", never)
        assert equal() != before[0]
    with monkeypatch.context() as patch:
        patch.setattr(decision, "is_worse", never)
        assert worse() != before[1]
    assert (equal(), worse()) == before


def test_floors_and_shifts_change_with_the_rule_of_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(judged(case).ok for case in level_cases())
    monkeypatch.setattr(decision, "level_state", lambda *_args, **_kwargs: "undecided")
    wrong = {case.metric for case in level_cases() if not judged(case).ok}
    assert wrong >= {"score", "logprob_shift"}


# Functions outside of the rule that look at a margin or a bound together with a p-value or an
# interval, and what they do instead of deciding.
NOT_DECIDING = {
    "pipeline/gate/accuracy.py:_difference_reason": "words a verdict",
}
MARGINS = {"margin", "allowed", "loss", "floor", "ceiling"}
EVIDENCE = {"p_worse", "p_better", "p_lower", "p_higher", "lower", "upper", "bound", "interval"}


def names(node: ast.AST) -> set[str]:
    return {
        inner.attr if isinstance(inner, ast.Attribute) else inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute | ast.Name)
    }


def deciding() -> Iterator[str]:
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        if where == "pipeline/stats/decision.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            compared = [
                names(inner)
                for inner in ast.walk(node)
                if isinstance(inner, ast.Compare)
                and not isinstance(inner.ops[0], ast.Is | ast.IsNot)
            ]
            if any(c & MARGINS for c in compared) and any(c & EVIDENCE for c in compared):
                yield f"{where}:{node.name}"


def test_nothing_else_turns_evidence_and_margin_into_a_verdict() -> None:
    assert set(deciding()) == set(NOT_DECIDING)
