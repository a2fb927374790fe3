"""Every gate fires when it must and only then; what is not there is never a pass."""

from __future__ import annotations

from typing import Any

import pytest

from evals import JOBS
from evals.job import Mark
from evals.metrics import METRICS
from pipeline.gate import Check, Judgement, Row, Verdict, judge
from pipeline.gate.model import EXIT_CODES, worst
from pipeline.records.record import PremiseResult, RecordError, Status
from tests.pipeline.builders import (
    MadeRun,
    MarkOf,
    SpeedOf,
    all_alike,
    make_plan_for_test,
    make_run,
)

ARM = "mixed-comm"
SCORE_ONLY = {"gsm8k": {"score": {"margin": 0.03}}}
ITL_ONLY = {"latency": {"median_itl_ms": {"margin": 0.03}}}


def judged(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, made.facts)


def row(judgement: Judgement, arm: str = ARM, dp: int = 2) -> Row:
    [found] = [r for r in judgement.rows if (r.arm, r.layout.attention_dp) == (arm, dp)]
    return found


def check(found: Row, metric: str, against: str = "reference") -> Check:
    [one] = [c for c in found.checks if (c.metric, c.against) == (metric, against)]
    return one


def worse_by(points: int, *, arm: str = ARM, dps: tuple[int, ...] = (2, 4, 8)) -> MarkOf:
    """Of 100 questions, this many more are wrong."""

    def mark(who: str, dp: int, question: int, repeat: int) -> Mark:
        if who == arm and dp in dps and question % 100 < points * 5 and question % 5 == 1:
            return "wrong"
        return all_alike(who, dp, question, repeat)

    return mark


def faster(factor: float, *, arm: str = ARM) -> SpeedOf:
    return lambda who, dp, metric: factor if who == arm else 1.0


def test_a_against_a_passes() -> None:
    found = judged(make_run(make_plan_for_test()))
    assert (found.verdict, found.exit_code) == (Verdict.PASS, 0)
    assert [r.verdict for r in found.rows] == [Verdict.PASS] * 4
    assert [r.role for r in found.rows] == ["reference", "arm"] * 2


def test_twenty_percent_slower_regresses_that_row_only() -> None:
    made = make_run(
        make_plan_for_test(), speed=lambda arm, dp, m: 1.2 if (arm, dp) == (ARM, 4) else 1.0
    )
    found = judged(made)
    assert (found.verdict, found.exit_code) == (Verdict.REGRESSED, 1)
    assert row(found, dp=4).verdict is Verdict.REGRESSED
    assert row(found, dp=2).verdict is Verdict.PASS
    assert "mixed-comm on tp8-dp4-ep1" in found.reason
    assert check(row(found, dp=4), "median_itl_ms").estimate == pytest.approx(1.2, abs=0.005)


def test_ten_points_worse_regresses() -> None:
    found = judged(make_run(make_plan_for_test(), mark=worse_by(10)))
    assert found.exit_code == 1
    one = check(row(found), "score")
    assert one.estimate == pytest.approx(-0.1)
    assert (one.verdict, one.lower) == (Verdict.REGRESSED, 20)


def test_a_small_loss_is_inconclusive_and_says_what_it_would_take() -> None:
    found = judged(make_run(make_plan_for_test(gates=SCORE_ONLY), mark=worse_by(2)))
    one = check(row(found), "score")
    assert (one.verdict, found.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert one.p_worse == pytest.approx(1 / 16)
    assert "questions" in one.reason


def test_a_loss_inside_the_margin_passes_though_it_is_established() -> None:
    plan = make_plan_for_test(gates={"gsm8k": {"score": {"margin": 0.2}}}, dps=(2,))
    one = check(row(judged(make_run(plan, mark=worse_by(10)))), "score")
    assert one.interval is not None
    assert one.interval[1] < 0
    assert one.verdict is Verdict.PASS


def test_not_significant_is_no_pass() -> None:
    """30 questions, all alike: no difference seen, and a loss of 3 points is not excluded."""
    found = judged(make_run(make_plan_for_test(gates=SCORE_ONLY), questions=30))
    one = check(row(found), "score")
    assert (one.estimate, one.verdict) == (0.0, Verdict.INCONCLUSIVE)
    assert one.interval is not None
    assert one.interval[0] < -0.03 < 0.03 < one.interval[1]


def test_better_answers_are_improved() -> None:
    mark = worse_by(10, arm="nccl")
    found = judged(make_run(make_plan_for_test(gates=SCORE_ONLY), mark=mark))
    assert (row(found).verdict, found.exit_code) == (Verdict.IMPROVED, 0)


@pytest.mark.parametrize(
    "metric", [METRICS[name] for name in JOBS["latency"].gated], ids=lambda metric: metric.name
)
def test_the_direction_of_every_speed_metric(metric: Any) -> None:
    """20 % more of it is a loss or a gain as the table says; and the other way round for less."""
    gates = {"gsm8k": {"score": {"margin": 0.03}}, "latency": {metric.name: {"margin": 0.05}}}
    plan = make_plan_for_test(gates=gates, dps=(2,))
    more = row(judged(make_run(plan, speed=faster(1.2)))).verdict
    less = row(judged(make_run(plan, speed=faster(1 / 1.2)))).verdict
    good, bad = (more, less) if metric.better == "higher" else (less, more)
    assert (good, bad) == (Verdict.IMPROVED, Verdict.REGRESSED)


@pytest.mark.parametrize(
    ("metric", "mark"),
    [("no_answer_rate", "no_answer"), ("truncated_rate", "truncated"), ("score", "correct")],
)
def test_the_direction_of_every_fraction(metric: str, mark: Mark) -> None:
    """The arm has 20 % more answers of the kind that the metric counts, then 20 % fewer."""

    def marks(arm: str, dp: int, question: int, repeat: int) -> Mark:
        other: Mark = "wrong" if metric == "score" else "correct"
        share = {"nccl": 5, ARM: 3}[arm] if more else {"nccl": 3, ARM: 5}[arm]
        return mark if question % 10 >= share else other

    plan = make_plan_for_test(gates={"gsm8k": {metric: {"margin": 0.03}}}, dps=(2,))
    more = True
    gain = row(judged(make_run(plan, mark=marks))).verdict
    more = False
    loss = row(judged(make_run(plan, mark=marks))).verdict
    if METRICS[metric].better == "lower":
        gain, loss = loss, gain
    assert (gain, loss) == (Verdict.IMPROVED, Verdict.REGRESSED)


def test_no_gate_is_missing() -> None:
    found = judged(make_run(make_plan_for_test(gates={})))
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    assert "no gate is set" in found.reason
    assert {r.verdict for r in found.rows} == {Verdict.MISSING}


def test_a_reference_alone_was_compared_with_nothing() -> None:
    found = judged(make_run(make_plan_for_test(arms=("nccl",))))
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)


def test_no_records_at_all_are_missing() -> None:
    found = judge(make_plan_for_test(), [], lambda record: [], {})
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    assert row(found).records.counts == {"not run": 4}


@pytest.mark.parametrize("arm", ["nccl", ARM])
@pytest.mark.parametrize("job", ["gsm8k", "latency"])
@pytest.mark.parametrize(
    "status", [Status.FAILED, Status.INVALID, Status.ABORTED, Status.UNSUPPORTED]
)
def test_a_record_that_does_not_count_is_missing(arm: str, job: str, status: Status) -> None:
    made = make_run(make_plan_for_test())
    made.fail(made.cells(arm, 2, job)[0], status, "the server died")
    found = judged(made)
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    assert row(found, arm).verdict is Verdict.MISSING
    assert any("the server died" in reason for reason in row(found, arm).reasons)
    assert row(found).verdict is Verdict.MISSING  # it needs the reference, too
    assert row(found, dp=4).verdict is Verdict.PASS


@pytest.mark.parametrize("arm", ["nccl", ARM])
def test_a_part_of_the_launches_is_not_judged(arm: str) -> None:
    made = make_run(make_plan_for_test(), speed=faster(1.5))
    del made.records[made.cells(arm, 2, "latency")[1]]
    one = check(row(judged(made)), "median_itl_ms")
    assert one.verdict is Verdict.MISSING
    assert "1 of 3 planned records" in one.reason


def test_a_missing_record_of_a_job_without_gate_is_still_no_pass() -> None:
    made = make_run(make_plan_for_test(gates=SCORE_ONLY))
    made.fail(made.cells(ARM, 2, "latency")[0])
    assert row(judged(made)).verdict is Verdict.MISSING


def test_an_ok_record_without_examples_is_missing() -> None:
    found = judged(make_run(make_plan_for_test(), questions=0))
    assert found.verdict is Verdict.MISSING
    assert "no question was answered" in check(row(found), "score").reason
    assert row(found, "nccl").verdict is Verdict.MISSING


def test_an_ok_record_without_the_gated_metric_is_missing() -> None:
    made = make_run(make_plan_for_test())
    cell = made.cells(ARM, 2, "latency")[2]
    metrics = {k: v for k, v in made.records[cell].metrics.items() if k != "median_itl_ms"}
    made.change(cell, metrics=metrics)
    assert check(row(judged(made)), "median_itl_ms").verdict is Verdict.MISSING


def test_damaged_answers_are_missing_also_in_the_reference_row() -> None:
    made = make_run(make_plan_for_test(gates=SCORE_ONLY, dps=(2,)))
    broken = made.cells("nccl", 2, "gsm8k")

    def read(record: Any) -> Any:
        if record.cell in broken:
            raise RecordError("answers.jsonl:7: is no whole answer line")
        return made.read(record)

    found = judge(made.plan, made.records.values(), read, {})
    for arm in ("nccl", ARM):
        assert row(found, arm).verdict is Verdict.MISSING
        assert any("no whole answer line" in reason for reason in row(found, arm).reasons)


def test_a_disproved_premise_never_counts() -> None:
    """Also where the record says ok: the gate looks for itself."""
    made = make_run(make_plan_for_test())
    wrong = PremiseResult(name="path", state="disproved", detail="rank 3 took no ALLGATHER")
    made.change(made.cells(ARM, 2, "gsm8k")[0], premises=[wrong])
    found = row(judged(made))
    assert found.verdict is Verdict.MISSING
    assert any("rank 3 took no ALLGATHER" in reason for reason in found.reasons)
    assert found.premises[0].state == "disproved"


def test_an_unproved_premise_is_shown_with_its_launches() -> None:
    made = make_run(make_plan_for_test())
    open_ = PremiseResult(name="path", state="unproved", detail="only a trace shows")
    for cell in made.cells(ARM, 2, "latency"):
        made.change(cell, premises=[open_])
    found = row(judged(made))
    assert found.verdict is Verdict.PASS
    assert (found.premises[0].state, len(found.premises[0].launches)) == ("unproved", 3)


@pytest.mark.parametrize("name", ["ids_digest", "protocol_digest"])
@pytest.mark.parametrize("value", ["another", None])
def test_other_questions_or_another_protocol_are_not_compared(name: str, value: str | None) -> None:
    made = make_run(make_plan_for_test(), mark=worse_by(10))
    cell = made.cells(ARM, 2, "gsm8k")[0]
    details = {**made.records[cell].details, name: value}
    if value is None:
        del details[name]
    made.change(cell, details=details)
    one = check(row(judged(made)), "score")
    assert one.verdict is Verdict.MISSING
    assert one.reason.startswith("not comparable")
    assert name in one.reason


@pytest.mark.parametrize(
    ("other", "verdict", "reason"),
    [
        ("marker 2", Verdict.REGRESSED, "worse"),
        ("marker 3", Verdict.MISSING, "marked by different markers (marker 2; marker 3)"),
        (None, Verdict.MISSING, "marked by different markers (marker 2; unknown)"),
    ],
)
def test_answers_of_two_markers_are_not_compared(
    other: str | None, verdict: Verdict, reason: str
) -> None:
    made = make_run(make_plan_for_test(), mark=worse_by(10))
    for arm in ("nccl", ARM):
        for cell in made.cells(arm, 2, "gsm8k"):
            grader = other if arm == ARM else "marker 2"
            told = {} if grader is None else {"grader": grader}
            made.change(cell, details={**made.records[cell].details, **told})
    one = check(row(judged(made)), "score")
    assert one.verdict is verdict
    assert reason in one.reason


def test_questions_asked_on_one_side_only_are_not_compared() -> None:
    made = make_run(make_plan_for_test())
    cell = made.cells(ARM, 2, "gsm8k")[0]
    made.answers[cell] = made.answers[cell][:-3]
    one = check(row(judged(made)), "score")
    assert (one.verdict, one.estimate) == (Verdict.MISSING, None)
    assert "3 questions" in one.reason


def test_other_settings_are_not_compared() -> None:
    made = make_run(make_plan_for_test())
    cell = made.cells(ARM, 2, "latency")[0]
    made.change(cell, settings={**made.records[cell].settings, "concurrency": 16})
    one = check(row(judged(made)), "median_itl_ms")
    assert (one.verdict, one.reason) == (
        Verdict.MISSING,
        "not comparable: settings differ in concurrency",
    )


def test_one_launch_decides_no_speed() -> None:
    found = judged(make_run(make_plan_for_test(launches=1), speed=faster(3.0)))
    one = check(row(found), "median_itl_ms")
    assert (one.verdict, one.interval) == (Verdict.INCONCLUSIVE, None)
    assert one.estimate == pytest.approx(3.0, rel=0.01)
    assert "one launch" in one.reason
    assert found.exit_code == 3


def test_noisy_launches_are_inconclusive_and_say_what_it_would_take() -> None:
    made = make_run(make_plan_for_test(gates=ITL_ONLY, dps=(2,)))
    for cell, value in zip(made.cells(ARM, 2, "latency"), (9.0, 10.0, 11.5), strict=True):
        made.change(cell, metrics={**made.records[cell].metrics, "median_itl_ms": value})
    one = check(row(judged(made)), "median_itl_ms")
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "launches an arm would pass" in one.reason


def test_an_established_slowdown_inside_the_margin_passes() -> None:
    one = check(
        row(judged(make_run(make_plan_for_test(gates=ITL_ONLY, dps=(2,)), speed=faster(1.015)))),
        "median_itl_ms",
    )
    assert one.p_worse is not None
    assert one.p_worse < 0.05
    assert one.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("floor", "verdict"),
    [(0.5, Verdict.PASS), (0.8, Verdict.INCONCLUSIVE), (0.95, Verdict.REGRESSED)],
)
def test_a_floor_holds_for_every_arm_and_the_reference(floor: float, verdict: Verdict) -> None:
    gates = {"gsm8k": {"score": {"margin": 0.03, "floor": floor}}}
    found = judged(make_run(make_plan_for_test(gates=gates)))
    for arm in ("nccl", ARM):
        assert check(row(found, arm), "score", "floor").verdict is verdict
    assert row(found, "nccl").verdict is verdict
    assert found.exit_code == EXIT_CODES[verdict]


def test_a_reference_broken_on_one_layout_is_caught() -> None:
    """1 % at DP 2 and 98 % elsewhere in the baseline itself: nothing is a pass or a gain there."""

    def mark(arm: str, dp: int, question: int, repeat: int) -> Mark:
        if arm == "nccl" and dp == 2:
            return "correct" if question % 100 == 0 else "wrong"
        return "wrong" if question % 50 == 0 else "correct"

    found = judged(make_run(make_plan_for_test(dps=(2, 4, 8)), mark=mark, speed=faster(0.8)))
    assert (row(found, "nccl", 2).verdict, found.exit_code) == (Verdict.REGRESSED, 1)
    assert row(found, ARM, 2).verdict is Verdict.INCONCLUSIVE
    assert all("reference itself is broken" in reason for reason in row(found, ARM, 2).reasons)
    assert row(found, "nccl", 4).verdict is Verdict.PASS
    assert row(found, ARM, 4).verdict is Verdict.IMPROVED


def test_layouts_that_score_alike_raise_no_alarm() -> None:
    mark = worse_by(2, arm="nccl", dps=(2,))
    found = judged(make_run(make_plan_for_test(gates=SCORE_ONLY), mark=mark))
    assert check(row(found, "nccl"), "score", "other layouts").verdict is Verdict.PASS


def test_looking_for_the_best_other_layout_is_paid_for() -> None:
    mark = worse_by(10, arm="nccl", dps=(2,))
    gates = SCORE_ONLY
    two = judged(make_run(make_plan_for_test(gates=gates, dps=(2, 4)), mark=mark))
    three = judged(make_run(make_plan_for_test(gates=gates, dps=(2, 4, 8)), mark=mark))
    p2 = check(row(two, "nccl"), "score", "other layouts").p_worse
    p3 = check(row(three, "nccl"), "score", "other layouts").p_worse
    assert p2 is not None
    assert p3 == pytest.approx(2 * p2)


def test_a_gain_in_speed_without_proved_accuracy_is_not_counted() -> None:
    found = judged(make_run(make_plan_for_test(), questions=30, speed=faster(0.8)))
    one = check(row(found), "median_itl_ms")
    assert (one.verdict, row(found).verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert "not counted" in one.reason


def test_a_gain_in_speed_with_proved_accuracy_is() -> None:
    found = judged(make_run(make_plan_for_test(), speed=faster(0.8)))
    assert (row(found).verdict, found.verdict, found.exit_code) == (
        Verdict.IMPROVED,
        Verdict.IMPROVED,
        0,
    )


def test_many_comparisons_make_one_alarm_harder() -> None:
    """p = 1/32 is an alarm for one comparison and none among six."""
    gates = {"gsm8k": {"score": {"margin": 0.001}}}
    one = judged(make_run(make_plan_for_test(gates=gates, dps=(2,)), mark=five_flips))
    arms = ("nccl", ARM, "a", "b", "c", "d", "e")
    many = judged(make_run(make_plan_for_test(gates=gates, dps=(2,), arms=arms), mark=five_flips))
    assert (one.alarms["accuracy"], many.alarms["accuracy"]) == (1, 6)
    assert check(row(one), "score").verdict is Verdict.REGRESSED
    assert check(row(many), "score").verdict is Verdict.INCONCLUSIVE
    assert check(row(many), "score").p_worse_adjusted == pytest.approx(6 / 32)


def five_flips(arm: str, dp: int, question: int, repeat: int) -> Mark:
    if arm == ARM and question in (1, 2, 3, 4, 6):
        return "wrong"
    return all_alike(arm, dp, question, repeat)


def test_what_no_gate_asks_for_is_shown_and_not_judged() -> None:
    found = judged(make_run(make_plan_for_test(gates=SCORE_ONLY), speed=faster(2.0)))
    one = check(row(found), "median_ttft_ms")
    assert (one.gated, one.verdict) == (False, None)
    assert one.estimate == pytest.approx(2.0, rel=0.01)
    assert found.verdict is Verdict.PASS
    assert found.alarms["speed"] == 0


@pytest.mark.parametrize(("cut", "noted"), [(12, True), (3, False)])
def test_answers_that_are_cut_off_more_often_are_noted_without_a_gate(
    cut: int, noted: bool
) -> None:
    """Wrong in both arms, but cut off in one: the score is the same. Six rates are looked at."""

    def mark(arm: str, dp: int, question: int, repeat: int) -> Mark:
        if question % 5 == 0:
            return "truncated" if arm == "mixed-comm" and question < 5 * cut else "wrong"
        return "correct"

    found = row(judged(make_run(make_plan_for_test(), mark=mark)))
    assert found.verdict is Verdict.PASS
    told = [note for note in found.notes if "truncated" in note]
    assert bool(told) is noted
    if noted:
        assert told == ["gsm8k: truncated 6.0 %, 0.0 % in the reference (p 0.00024)"]


def test_a_failed_request_is_no_wrong_answer() -> None:
    def mark(arm: str, dp: int, question: int, repeat: int) -> Mark:
        if arm == ARM and question % 10 == 1:
            return "error"
        return all_alike(arm, dp, question, repeat)

    one = check(row(judged(make_run(make_plan_for_test(gates=SCORE_ONLY), mark=mark))), "score")
    assert (one.n, one.lower, one.verdict) == (180, 0, Verdict.PASS)
    assert "20 questions left out" in one.method


def test_repeats_are_one_question_each() -> None:
    found = judged(make_run(make_plan_for_test(gates=SCORE_ONLY), questions=60, repeats=8))
    assert check(row(found), "score").n == 60
    [score] = [m for m in row(found).measured if m.metric == "score"]
    assert (score.n, score.repeats) == (60, 8)


def test_the_worst_verdict_rules() -> None:
    order = [
        Verdict.REGRESSED,
        Verdict.MISSING,
        Verdict.INCONCLUSIVE,
        Verdict.IMPROVED,
        Verdict.PASS,
    ]
    for index, verdict in enumerate(order):
        assert worst(order[index:]) is verdict
    assert worst([]) is Verdict.MISSING
    assert {v: EXIT_CODES[v] for v in order} == dict(zip(order, (1, 3, 3, 0, 0), strict=True))


@pytest.mark.parametrize("value", [0.0, -2.5, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("arm", ["nccl", ARM])
def test_a_speed_that_is_not_finite_and_positive_is_missing(arm: str, value: float) -> None:
    made = make_run(make_plan_for_test(dps=(2,)))
    cell = made.cells(arm, 2, "latency")[1]
    made.change(cell, metrics={**made.records[cell].metrics, "median_itl_ms": value})
    found = judged(made)
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    assert "no positive value" in check(row(found), "median_itl_ms").reason
