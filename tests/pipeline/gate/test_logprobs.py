"""The gate on log-probabilities: it fires on a wrong operation, and not on rounding."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evals.logprobs.trails import Trail
from pipeline.gate import Check, Judgement, Verdict, judge
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run
from tests.pipeline.runs import experiment, only_run, records, servegate

ARM = "mixed-comm"
JOBS = {"logprobs": {"kind": "logprobs", "steps": 4}}
GATES = {"logprobs": {"logprob_shift": {"margin": 0.05}}}

Shift = Callable[[int, int], float]
"""Nats by number of the text and step."""


def trails(shift: Shift, *, texts: int = 40, first: int = 5) -> list[Trail]:
    made = []
    for text in range(texts):
        for repeat in (0, 1):
            noise = 0.002 * repeat
            values = [-1.0 - (shift(text, step) + noise if step else 0.0) for step in range(4)]
            tokens = [first, 6, 7, 8]
            made.append(
                Trail(
                    id=f"text-{text}", repeat=repeat, prefill=[-1.0], tokens=tokens,
                    logprobs=values,
                    top=[[(t, lp), (99, lp - 2)] for t, lp in zip(tokens, values, strict=True)],
                )
            )  # fmt: skip
    return made


def run(*, gates: dict[str, Any] | None = None, launches: int = 1) -> MadeRun:
    gates = GATES if gates is None else gates
    made = make_run(make_plan_for_test(dps=(2,), launches=launches, jobs=JOBS, gates=gates))
    for record in list(made.records.values()):
        details = {"ids_digest": "ids", "protocol_digest": "protocol"}
        made.change(record.cell, metrics={"logprob_noise": 0.002}, details=details)
    return made


def judged(made: MadeRun, arm: list[Trail], reference: list[Trail] | None = None) -> Judgement:
    base = trails(lambda _text, _step: 0.0) if reference is None else reference
    return judge(
        made.plan, made.records.values(), made.read, {},
        lambda record: arm if record.arm == ARM else base,
    )  # fmt: skip


def check(found: Judgement) -> Check:
    [row] = [row for row in found.rows if row.arm == ARM]
    [one] = [one for one in row.checks if one.metric == "logprob_shift"]
    return one


def test_rounding_passes_and_its_number_is_told() -> None:
    draw = random.Random(1)
    found = judged(run(), trails(lambda _text, _step: draw.uniform(-0.02, 0.02)))
    one = check(found)
    assert (found.verdict, one.verdict) == (Verdict.PASS, Verdict.PASS)
    assert one.estimate == pytest.approx(0.01, abs=0.002)
    assert one.reference_value == pytest.approx(0.002)
    assert one.n == 40
    assert "over 120 decode steps" in one.reason
    assert "noise 0.002" in one.reason


def test_a_wrong_operation_is_regressed() -> None:
    found = judged(run(), trails(lambda text, _step: 0.3 + 0.001 * text))
    assert (found.verdict, found.exit_code) == (Verdict.REGRESSED, 1)
    assert check(found).reason.startswith("more than 0.05 nats, which rounding may explain")


def test_a_few_texts_far_off_are_not_excluded() -> None:
    found = judged(run(), trails(lambda text, _step: 2.0 if text == 7 else 0.0))
    assert check(found).verdict is Verdict.INCONCLUSIVE


def test_a_text_asked_on_two_launches_is_one_text() -> None:
    """Twice the launches are no more texts: the interval does not shrink."""
    shifted = trails(lambda text, _step: 0.001 * text)
    one, two = check(judged(run(), shifted)), check(judged(run(launches=2), shifted))
    assert (one.n, two.n) == (40, 40)
    assert two.interval == pytest.approx(one.interval)
    assert "over 240 decode steps" in two.reason


def test_one_text_gives_no_interval() -> None:
    same = trails(lambda _text, _step: 0.0, texts=1)
    one = check(judged(run(), same, same))
    assert (one.verdict, one.interval) == (Verdict.INCONCLUSIVE, None)
    assert one.reason.startswith("one text gives no interval")


def test_where_tokens_part_is_told() -> None:
    arm = trails(lambda _text, _step: 0.0)
    arm[0] = arm[0].model_copy(update={"tokens": [5, 6, 98, 8]})
    one = check(judged(run(), arm))
    assert one.verdict is Verdict.PASS
    assert "1 of 40 texts took another token somewhere, the first at step 3;" in one.reason
    assert "over 119 decode steps" in one.reason


def test_texts_that_begin_otherwise_are_no_sample() -> None:
    other = trails(lambda _text, _step: 0.0, first=4)[:60]
    same = trails(lambda _text, _step: 0.0)[60:]
    one = check(judged(run(), other + same))
    assert (one.verdict, one.n) == (Verdict.INCONCLUSIVE, 10)
    assert "too few texts begin with the same token" in one.reason
    assert "the first at step 1 (30 there, which is prefill's)" in one.reason
    assert check(judged(run(), other + trails(lambda _t, _s: 0.0, first=4)[60:])).verdict is (
        Verdict.MISSING
    )


def test_nothing_kept_is_missing_and_other_texts_are_not_comparable() -> None:
    assert check(judged(run(), [])).verdict is Verdict.MISSING
    made = run()
    [cell] = made.cells(ARM, 2, "logprobs")
    made.change(cell, details={"ids_digest": "other", "protocol_digest": "protocol"})
    one = check(judged(made, trails(lambda _text, _step: 0.0)))
    assert (one.verdict, one.reason) == (
        Verdict.MISSING, "not comparable: ids_digest differs between the records",
    )  # fmt: skip


def test_without_a_gate_it_is_told_and_not_judged() -> None:
    one = check(judged(run(gates={}), trails(lambda _text, _step: 1.0)))
    assert (one.gated, one.verdict) == (False, None)
    assert one.estimate == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "verdict", "code"), [(0.0, "pass", 0), (0.5, "regressed", 1)])
def test_on_servers(shift: float, verdict: str, code: int, tmp_path: Path) -> None:
    file = experiment(
        tmp_path,
        jobs={"logprobs": {"kind": "logprobs", "steps": 4, "deadline_s": 60}},
        arms={
            "nccl": {"preset": "nccl", "fake": {"logprob_noise": 0.01}},
            "other": {
                "preset": "nccl", "fake": {"logprob_noise": 0.01, "logprob_shift": shift},
            },
        },
        gates=GATES,
    )  # fmt: skip
    done = servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert f"verdict: {verdict}" in done.stdout
    found = records(only_run(tmp_path))["01-other-dp2/logprobs"]
    assert found["counts"] == {"texts": 40, "asked": 80, "positions": 240}
    # On the fake engine a launch's noise is the same for both askings.
    assert found["metrics"] == {"logprob_noise": 0.0}
    html = (only_run(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "nats (noise 0.0000)" in html
    assert "logprobs logprob shift: at most 0.05 nats" in html
