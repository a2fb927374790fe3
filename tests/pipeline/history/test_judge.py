from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.gate.model import Verdict
from pipeline.history.judge import Rules
from pipeline.history.model import NightCheck, NightJudgement
from pipeline.history.nightly import NotAccepted, accept_runs, judge_run
from pipeline.history.store import History
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError, Status
from tests.pipeline.builders import MadeRun, answer
from tests.pipeline.history.nights import FACTS, make_night, small_plan


def accept(history: History, folder: RunFolder, pin: str = "") -> None:
    accept_runs([folder], history, Rules(), pin=pin, reason="good", who="tester")


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight accepted nights, the first of them pinned as release; not to be changed."""
    home = tmp_path_factory.mktemp("nights")
    made = History(home / "history.sqlite")
    for number in range(8):
        folder = make_night(number, home)
        accept(made, folder, "" if number else "release")
    return home


@pytest.fixture
def history(eight: Path, tmp_path: Path) -> History:
    """A copy of the eight nights for one test; folders are kept relative, so that it is whole."""
    shutil.copytree(eight, tmp_path, dirs_exist_ok=True)
    return History(tmp_path / "history.sqlite")


def judge(
    history: History, folder: RunFolder, *may_change: str, pin: str | None = None
) -> NightJudgement:
    return judge_run(folder, history, Rules(may_change=may_change), pin=pin)


def checks_of(judgement: NightJudgement, arm: str, metric: str) -> dict[str, NightCheck]:
    return {c.baseline: c for c in judgement.checks if (c.arm, c.metric) == (arm, metric)}


def slower(arm: str, factor: float) -> Any:
    return lambda who, dp, metric: factor if who == arm and metric == "median_itl_ms" else 1.0


def test_an_ordinary_night_passes_against_both_baselines(history: History, tmp_path: Path) -> None:
    judgement = judge(history, make_night(8, tmp_path))
    assert judgement.verdict is Verdict.PASS
    assert judgement.exit_code == 0
    # two arms, two gated metrics, two baselines: the reference is held against its own past too
    assert len(judgement.checks) == 8
    itl = checks_of(judgement, "mixed-comm", "median_itl_ms")
    assert len(itl["pinned"].nights) == 1
    assert len(itl["rolling"].nights) == 8
    assert itl["pinned"].name == "release"


def test_a_slower_arm_is_regressed_and_the_other_is_not(history: History, tmp_path: Path) -> None:
    judgement = judge(history, make_night(8, tmp_path, speed=slower("nccl", 1.06)))
    assert judgement.exit_code == 1
    found = checks_of(judgement, "nccl", "median_itl_ms")
    assert {check.verdict for check in found.values()} == {Verdict.REGRESSED}
    assert "worse by more than 3 %" in found["rolling"].reason
    other = checks_of(judgement, "mixed-comm", "median_itl_ms")
    assert {check.verdict for check in other.values()} == {Verdict.PASS}


def test_a_slower_reference_is_found_that_makes_the_arm_look_better(
    history: History, tmp_path: Path
) -> None:
    """Arm against reference, the run improves; only the nights before can tell."""
    judgement = judge(history, make_night(8, tmp_path, speed=slower("nccl", 1.06)))
    assert judgement.own_verdict == "improved"
    assert judgement.verdict is Verdict.REGRESSED


def test_a_faster_arm_is_no_alarm_whatever_the_direction_of_its_metric(tmp_path: Path) -> None:
    plan = small_plan(gates={"latency": {"output_throughput": {"margin": 0.03}}})
    store = History(tmp_path / "h.sqlite")
    for number in range(8):
        accept(store, make_night(number, tmp_path, plan=plan), "" if number else "release")
    verdicts = {}
    for night, factor in ((8, 1.1), (9, 0.9)):
        folder = make_night(night, tmp_path, plan=plan, speed=lambda *_, f=factor: f)
        verdicts[factor] = judge(store, folder).verdict
    assert verdicts == {1.1: Verdict.IMPROVED, 0.9: Verdict.REGRESSED}


def test_established_but_within_the_margin_is_no_regression(
    history: History, tmp_path: Path
) -> None:
    judgement = judge(history, make_night(10, tmp_path, speed=slower("mixed-comm", 1.02)))
    found = checks_of(judgement, "mixed-comm", "median_itl_ms")["rolling"]
    assert found.p_worse is not None
    assert found.p_worse < 0.005
    assert found.verdict is not Verdict.REGRESSED


def test_without_a_baseline_a_night_is_missing_never_a_pass(tmp_path: Path) -> None:
    judgement = judge(History(tmp_path / "h.sqlite"), make_night(0, tmp_path))
    assert judgement.exit_code == 3
    assert {check.verdict for check in judgement.checks} == {Verdict.MISSING}
    assert "--pin NAME" in judgement.checks[0].reason


def test_one_accepted_night_does_not_say_how_nights_differ(tmp_path: Path) -> None:
    store = History(tmp_path / "h.sqlite")
    accept(store, make_night(0, tmp_path), "release")
    judgement = judge(store, make_night(1, tmp_path))
    found = checks_of(judgement, "nccl", "median_itl_ms")["rolling"]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "two accepted nights" in found.reason


CHANGES = [
    ({"machine": {"host": "node-2", "cores": 8}}, "machine.host: node-1 -> node-2"),
    (
        {"gpu": {**FACTS["gpu"], "gpus": [{"name": "H100", "uuid": "GPU-1"}]}},
        "gpu.0.name: H200 -> H100",
    ),
    ({"gpu": {**FACTS["gpu"], "driver": "590.2"}}, "driver: 580.1 -> 590.2"),
    (
        {"packages": {**FACTS["packages"], "sglang": "0.5.24"}},
        "sglang.version: 0.5.23 -> 0.5.24",
    ),
    (
        {"packages": {**FACTS["packages"], "sglang commit": "abc"}},
        "sglang.commit: not there -> abc",
    ),
]


@pytest.mark.parametrize(("facts", "named"), CHANGES)
def test_what_must_not_change_is_named_and_missing(
    history: History, tmp_path: Path, facts: dict[str, Any], named: str
) -> None:
    judgement = judge(history, make_night(8, tmp_path, facts=facts))
    assert judgement.exit_code == 3
    assert {check.verdict for check in judgement.checks} == {Verdict.MISSING}
    assert all(named in check.reason for check in judgement.checks)


def test_what_is_under_test_may_change_and_is_named(history: History, tmp_path: Path) -> None:
    facts = {"packages": {"sglang": "0.5.24", "torch": "2.9.0"}}
    folder = make_night(8, tmp_path, facts=facts, speed=slower("nccl", 1.06))
    judgement = judge(history, folder, "sglang")
    found = checks_of(judgement, "nccl", "median_itl_ms")["pinned"]
    assert found.verdict is Verdict.REGRESSED
    assert found.changed == ["sglang.version: 0.5.23 -> 0.5.24"]


def test_another_package_or_flag_is_named_and_judged(history: History, tmp_path: Path) -> None:
    facts = {
        "packages": {"sglang": "0.5.23", "torch": "2.9.1"},
        "arguments": {"attention_backend": "triton", "max_total_num_tokens": 999},
    }
    judgement = judge(history, make_night(8, tmp_path, facts=facts))
    assert judgement.verdict is Verdict.PASS
    assert judgement.checks[0].changed == [
        "arguments.attention_backend: fa3 -> triton",
        "packages.torch: 2.9.0 -> 2.9.1",
    ]


@pytest.mark.parametrize(
    ("detail", "named"),
    [("ids_digest", "data.gsm8k: ids-200 -> x"), ("protocol_digest", "protocol.gsm8k")],
)
def test_other_data_or_another_protocol_is_missing_for_its_job_only(
    history: History, tmp_path: Path, detail: str, named: str
) -> None:
    def change(made: MadeRun) -> None:
        for cell, record in list(made.records.items()):
            if record.kind == "accuracy":
                made.change(cell, details={**record.details, detail: "x"})

    judgement = judge(history, make_night(8, tmp_path, change=change))
    verdicts = {c.metric: c for c in judgement.checks}
    assert verdicts["score"].verdict is Verdict.MISSING
    assert named in verdicts["score"].reason
    assert verdicts["median_itl_ms"].verdict is Verdict.PASS


def test_lost_facts_and_failed_records_are_missing(history: History, tmp_path: Path) -> None:
    lost = make_night(8, tmp_path, change=lambda made: made.facts.popitem() and None)
    told = [c for c in judge(history, lost).checks if "kept no facts.json" in c.reason]
    assert {(c.arm, c.verdict) for c in told} == {("mixed-comm", Verdict.MISSING)}

    def fail(made: MadeRun) -> None:
        made.fail(made.cells("nccl", 2, "latency")[0])

    judgement = judge(history, make_night(9, tmp_path, change=fail))
    found = checks_of(judgement, "nccl", "median_itl_ms")["pinned"]
    assert found.verdict is Verdict.MISSING
    assert "it broke" in found.reason


def test_a_gate_that_was_taken_out_of_the_file_is_missing(history: History, tmp_path: Path) -> None:
    plan = small_plan(gates={"gsm8k": {"score": {"margin": 0.03}}})
    judgement = judge(history, make_night(8, tmp_path, plan=plan))
    assert judgement.exit_code == 3
    gone = [c for c in judgement.checks if c.metric == "median_itl_ms"]
    assert len(gone) == 2
    assert "no longer" in gone[0].reason


def test_a_score_is_held_against_the_same_questions(history: History, tmp_path: Path) -> None:
    def worse(arm: str, dp: int, question: int, repeat: int) -> Any:
        return "wrong" if question % 5 == 0 or question % 11 == 1 else "correct"

    judgement = judge(history, make_night(8, tmp_path, mark=worse))
    found = checks_of(judgement, "nccl", "score")
    assert found["pinned"].verdict is Verdict.REGRESSED
    assert found["pinned"].estimate == pytest.approx(-0.08)
    assert found["pinned"].method.startswith("paired by question with 1 night")
    assert found["rolling"].method.startswith("paired by question with 8 night")


def test_without_the_answers_a_score_is_held_against_scores_and_says_so(
    history: History, tmp_path: Path
) -> None:
    for night in history.nights("made-up"):
        shutil.rmtree(history.folder_of(night) / "launches")
    judgement = judge(history, make_night(8, tmp_path))
    found = checks_of(judgement, "nccl", "score")["pinned"]
    assert found.method.startswith("score against score, unpaired")
    # 200 questions at 80 % give about 6.6 points on either side: no 3 points can be excluded
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.interval == pytest.approx((-0.066, 0.066), abs=0.006)


def test_answers_that_were_changed_since_are_not_used(history: History, tmp_path: Path) -> None:
    pinned = history.folder_of(history.nights("made-up")[0])
    path = next(pinned.glob("launches/*-nccl-*/cells/gsm8k/answers.jsonl"))
    path.write_text(
        "".join(answer(q, 0, "correct").model_dump_json() + "\n" for q in range(200)),
        encoding="utf-8",
    )
    found = checks_of(judge(history, make_night(8, tmp_path)), "nccl", "score")["pinned"]
    assert found.method.startswith("score against score")


def test_a_slow_drift_that_rolls_along_is_caught_by_the_pinned_baseline(tmp_path: Path) -> None:
    store = History(tmp_path / "h.sqlite")
    for number in range(40):
        factor = 1.002**number
        folder = make_night(number, tmp_path, speed=lambda *_, f=factor: f)
        judgement = judge(store, folder)
        if number and judgement.verdict is Verdict.REGRESSED:
            found = checks_of(judgement, "nccl", "median_itl_ms")
            assert found["pinned"].verdict is Verdict.REGRESSED
            assert factor < 1.04
            return
        accept(store, folder, "" if number else "release")
    pytest.fail("the drift was never found")


def test_a_run_is_never_its_own_baseline_nor_held_against_later_ones(
    history: History, tmp_path: Path
) -> None:
    again = history.folder_of(history.nights("made-up")[3])
    judgement = judge(history, RunFolder(again))
    runs = {run for check in judgement.checks for run in check.nights}
    assert runs == {night.run for night in history.nights("made-up")[:3]}


def refused(history: History, folder: RunFolder, pin: str = "", reason: str = "good") -> str:
    with pytest.raises(NotAccepted) as caught:
        accept_runs([folder], history, Rules(), pin=pin, reason=reason, who="tester")
    return " / ".join(caught.value.problems)


def test_what_is_doubtful_never_becomes_a_baseline(history: History, tmp_path: Path) -> None:
    before = len(history.acceptances("made-up"))

    def fail(made: MadeRun) -> None:
        made.fail(made.cells("nccl", 2, "latency")[0])

    def invalid(made: MadeRun) -> None:
        made.fail(made.cells("nccl", 2, "latency")[0], Status.INVALID, "another backend ran")

    def incomplete(made: MadeRun) -> None:
        del made.records[made.cells("nccl", 2, "latency")[0]]

    for change, told in (
        (fail, "1 failed of 4 records"),
        (invalid, "1 invalid of 4 records"),
        (incomplete, "1 not run of 4 records"),
    ):
        for pin in ("", "new"):
            assert told in refused(history, make_night(8, tmp_path, change=change), pin)
    ab = make_night(9, tmp_path, speed=slower("mixed-comm", 1.2))
    assert "its own gate says regressed" in refused(history, ab, "new")
    assert "a reason is needed" in refused(history, make_night(10, tmp_path), reason=" ")
    assert len(history.acceptances("made-up")) == before


def test_a_night_that_may_be_a_step_does_not_move_the_baseline(tmp_path: Path) -> None:
    """Worse than the margin, and three nights cannot establish it: the next ones decide it."""
    store = History(tmp_path / "h.sqlite")
    for number in range(3):
        accept(store, make_night(number, tmp_path), "" if number else "release")
    for factor, beyond in ((1.045, True), (1.02, False)):
        folder = make_night(8, tmp_path, speed=slower("nccl", factor))
        found = checks_of(judge(store, folder), "nccl", "median_itl_ms")["pinned"]
        assert (found.verdict, found.beyond) == (Verdict.INCONCLUSIVE, beyond)
        if beyond:
            assert "undecided and worse than the margin" in refused(store, folder)
        else:
            accept(store, folder)


def test_a_change_needs_a_pin_of_its_own_and_then_counts_from_there(
    history: History, tmp_path: Path
) -> None:
    slow = make_night(8, tmp_path, speed=lambda *_: 1.06)
    assert "regressed against the accepted nights" in refused(history, slow)
    moved = make_night(9, tmp_path, facts={"machine": {"host": "node-2", "cores": 8}})
    assert "incomparable against the accepted nights" in refused(history, moved)
    accept(history, slow, "slower on purpose")
    later = judge(history, make_night(9, tmp_path, speed=lambda *_: 1.06))
    assert later.pin == "slower on purpose"
    assert later.verdict is not Verdict.REGRESSED
    assert len(checks_of(later, "nccl", "median_itl_ms")["rolling"].nights) == 1
    against_old = judge(history, make_night(10, tmp_path, speed=lambda *_: 1.06), pin="release")
    assert against_old.verdict is Verdict.REGRESSED


def together(history: History, folders: list[RunFolder], pin: str) -> None:
    accept_runs(folders, history, Rules(), pin=pin, reason="good", who="tester")


def test_several_runs_make_one_pin_whose_mean_counts(history: History, tmp_path: Path) -> None:
    three = [make_night(number, tmp_path) for number in (8, 9, 10)]
    together(history, three, "three")
    judgement = judge(history, make_night(11, tmp_path))
    found = checks_of(judgement, "nccl", "median_itl_ms")
    assert found["pinned"].name == "three"
    assert found["pinned"].nights == [folder.root.name for folder in three]
    assert found["pinned"].n == 3
    assert found["rolling"].nights == found["pinned"].nights
    # while one of its nights is judged again the pin is not whole, so the one before it counts
    assert judge(history, three[1]).pin == "release"


def test_runs_that_do_not_belong_together_make_no_pin(history: History, tmp_path: Path) -> None:
    one, two = make_night(8, tmp_path), make_night(9, tmp_path)
    moved = make_night(10, tmp_path, facts={"machine": {"host": "node-2", "cores": 8}})
    with pytest.raises(NotAccepted, match="one pinned baseline only: --pin NAME"):
        together(history, [one, two], "")
    with pytest.raises(NotAccepted, match=r"not comparable, nccl on .*machine\.host: node-1"):
        together(history, [one, moved], "new")
    with pytest.raises(RecordError, match="a pin never moves"):
        together(history, [one, two], "release")
    assert len(history.acceptances("made-up")) == 8  # all or none


def test_the_first_baseline_must_be_pinned(tmp_path: Path) -> None:
    store = History(tmp_path / "h.sqlite")
    folder = make_night(0, tmp_path)
    assert "no pinned baseline yet" in refused(store, folder)
    accept(store, folder, "release")


def test_an_unknown_pin_is_named(history: History, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no pinned baseline 'x' of made-up; there are: release"):
        judge(history, make_night(8, tmp_path), pin="x")
