"""Gates that no result could fail: told from an earlier run, and in the report of this one."""

from __future__ import annotations

from typing import Any

import pytest

from evals.job import Mark
from pipeline.gate import Verdict, judge
from pipeline.gate.reach import gates_out_of_reach
from pipeline.power import JobBasis, impossible_gates
from pipeline.report.terminal import terminal_reasons
from pipeline.stats.power import Difficulty
from pipeline.stats.reach import out_of_reach
from tests.pipeline.builders import make_plan_for_test, make_run
from tests.pipeline.power.test_power import gsm8k


@pytest.mark.parametrize(
    ("right", "margin", "comparisons", "repeats", "reachable"),
    [
        (20, 0.10, 1, 1, True),  # 20 points to lose, 10 allowed
        (10, 0.10, 1, 1, False),  # all that can be lost is the margin itself
        (11, 0.10, 1, 1, True),
        (5, 0.02, 1, 1, True),  # 0.5^5 = 0.031
        (4, 0.02, 1, 1, False),  # 0.5^4 = 0.063
        (5, 0.02, 2, 1, False),  # twice 0.031
        (4, 0.02, 1, 8, True),  # with repeats the score does not say what can be shown
        (2, 0.02, 1, 8, False),
    ],
)
def test_what_is_left_to_lose(
    right: int, margin: float, comparisons: int, repeats: int, reachable: bool
) -> None:
    why = out_of_reach(right / 100, 100, margin, 0.05, comparisons=comparisons, repeats=repeats)
    assert (why == "") is reachable, why


def told(right: int, gates: dict[str, Any]) -> tuple[list[str], Verdict]:
    """On 200 questions of which all arms have so many right."""

    def mark(_arm: str, _dp: int, question: int, _repeat: int) -> Mark:
        return "correct" if question < right else "no_answer"

    made = make_run(make_plan_for_test(dps=(2,), gates={"gsm8k": gates}), mark=mark)
    found = judge(made.plan, made.records.values(), made.read, made.facts)
    said = gates_out_of_reach(found)
    assert [text for text in terminal_reasons(found) if "could not fire" in text] == said
    return said, found.verdict


def test_a_report_says_that_a_score_below_the_margin_was_no_gate() -> None:
    said, verdict = told(12, {"score": {"margin": 0.08}})
    assert verdict is Verdict.PASS
    [text] = said
    assert text.startswith(
        "gsm8k score of mixed-comm on tp8-dp2-ep1: this gate could not fire: the reference has "
        "6.00%, so that no arm can lose more than the margin, 8.00%"
    )
    assert told(12, {"score": {"margin": 0.05}})[0] == []


def test_a_rate_that_is_high_already_has_no_room_above() -> None:
    [text] = told(12, {"no_answer_rate": {"margin": 0.08}})[0]
    assert "gsm8k no answer of mixed-comm" in text
    assert "the reference has 6.00%" in text
    assert told(150, {"no_answer_rate": {"margin": 0.08}})[0] == []


def test_power_says_so_of_a_run_that_scored_so() -> None:
    planned = gsm8k({"margin": 0.1}, examples=200)
    low = {"gsm8k": JobBasis(difficulty=Difficulty(score=0.06, within=0.01))}
    [text] = impossible_gates(planned, low)
    assert text.startswith("gates.gsm8k.score: can never fire: the reference has 6.00%")
    high = {"gsm8k": JobBasis(difficulty=Difficulty(score=0.6, within=0.01))}
    assert impossible_gates(planned, high) == []
    assert impossible_gates(planned) == []
