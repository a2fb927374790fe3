"""A quarantined cell is shown, takes no part in the verdict, and counts again when it lapses."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.experiment.quarantine import Quarantine
from pipeline.gate import Judgement, Row, Verdict, judge
from pipeline.plan.build import make_plan
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"
# Records of tests/pipeline/builders.py end on 2026-11-24.
KNOWN = {
    "arm": ARM, "layout": "tp8-dp4-*", "owner": "the serving group", "note": "ticket 17",
    "since": date(2026, 11, 1), "until": date(2026, 11, 24),
}  # fmt: skip


def run(**changes: Any) -> MadeRun:
    """20 % slower on DP 4, and that known."""
    plan = make_plan_for_test()
    known = Quarantine.model_validate({**KNOWN, **changes})
    return make_run(
        plan.model_copy(update={"quarantine": [known]}),
        speed=lambda arm, dp, metric: 1.2 if (arm, dp) == (ARM, 4) else 1.0,
    )


def judged(made: MadeRun, today: date | None = None) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, made.facts, today=today)


def row(found: Judgement, dp: int = 4) -> Row:
    [one] = [r for r in found.rows if (r.arm, r.layout.attention_dp) == (ARM, dp)]
    return one


def test_on_its_last_day_it_is_out_of_the_verdict_and_shown() -> None:
    found = judged(run())
    assert (found.verdict, found.exit_code) == (Verdict.PASS, 0)
    assert found.reason == "all 3 rows pass; 1 quarantined"
    told = "quarantined until 2026-11-24, owner the serving group: ticket 17"
    assert (row(found).verdict, row(found).quarantine) == (Verdict.REGRESSED, told)
    assert told in row(found).notes


@pytest.mark.parametrize("until", [date(2026, 11, 23), date(2026, 11, 1)])
def test_lapsed_it_counts_again_and_the_report_says_so(until: date) -> None:
    found = judged(run(until=until))
    assert (found.verdict, found.exit_code) == (Verdict.REGRESSED, 1)
    assert row(found).quarantine == ""
    [note] = [note for note in row(found).notes if "lapsed" in note]
    assert note.startswith(f"quarantine lapsed on {until}, so this counts again")


def test_not_yet_begun_it_counts() -> None:
    made = run(since=date(2026, 11, 25), until=date(2026, 11, 30))
    assert judged(made).exit_code == 1
    assert row(judged(made)).notes == []


def test_the_day_can_be_given() -> None:
    assert judged(run(), today=date(2026, 11, 25)).exit_code == 1
    assert judged(run(), today=date(2026, 11, 2)).exit_code == 0


def test_another_arm_or_layout_is_not_hidden() -> None:
    assert judged(run(layout="tp8-dp2-*")).exit_code == 1
    assert judged(run(arm="nccl")).exit_code == 1


def test_one_metric_leaves_the_others_of_its_row() -> None:
    found = judged(run(job="latency", metric="median_itl_ms"))
    assert (found.verdict, row(found).verdict, row(found).quarantine) == (
        Verdict.PASS, Verdict.PASS, "",
    )  # fmt: skip
    [check] = [c for c in row(found).checks if c.quarantine]
    assert (check.metric, check.verdict) == ("median_itl_ms", Verdict.REGRESSED)
    other = judged(run(job="gsm8k", metric="score"))
    assert (other.verdict, row(other).verdict) == (Verdict.REGRESSED, Verdict.REGRESSED)


def test_failed_records_of_a_job_go_with_the_job_only() -> None:
    for job, verdict in (("latency", Verdict.PASS), ("gsm8k", Verdict.MISSING)):
        made = run(job=job)
        for cell in made.cells(ARM, 4, "latency"):
            made.fail(cell)
        assert judged(made).verdict is verdict


def test_all_arms_quarantined_is_no_pass() -> None:
    found = judged(run(layout="*"))
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 3)
    assert "2 quarantined" in found.reason


def test_without_a_record_nothing_is_hidden() -> None:
    made = run()
    found = judge(made.plan, [], made.read, {})
    assert (found.verdict, row(found).quarantine) == (Verdict.MISSING, "")


@pytest.mark.parametrize("name", ["owner", "note", "since", "until"])
def test_it_needs_an_owner_a_note_and_an_end(name: str) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        Quarantine.model_validate({key: value for key, value in KNOWN.items() if key != name})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"owner": " "}, "must say something"),
        ({"note": ""}, "at least 1 character"),
        ({"until": date(2026, 12, 2)}, "31 days after since"),
        ({"until": date(2026, 10, 31)}, "-1 days after since"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Quarantine.model_validate({**KNOWN, **changes})


def test_thirty_days_are_allowed() -> None:
    made = Quarantine.model_validate({**KNOWN, "until": date(2026, 12, 1)})
    assert (made.until - made.since).days == 30


def test_a_plan_keeps_its_hash() -> None:
    """What is looked away from changes nothing that is run."""
    from pipeline.experiment.model import Experiment
    from pipeline.plan.model import PlanModel

    data: dict[str, Any] = {
        "name": "x", "model": {"path": "m"}, "reference": "a",
        "layouts": [{"tp": 2, "attention_dp": [2]}], "arms": {"a": {}, "b": {}},
        "jobs": {"latency": {"kind": "latency", "input_len": 8, "output_len": 8,
                             "concurrency": 1}},
    }  # fmt: skip
    model = PlanModel(path="m", served_name="m", tokenizer="m")
    one, other = (
        make_plan(Experiment.model_validate(made), model=model, python="python3", cores=2)
        for made in (data, {**data, "quarantine": [{**KNOWN, "arm": "b"}]})
    )
    assert one.hash == other.hash
    assert (len(one.quarantine), len(other.quarantine)) == (0, 1)
