"""A quarantine holds in the night and in `accept` as in the run's own gate; CI hears of both."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.experiment.quarantine import Quarantine
from pipeline.gate.model import Verdict
from pipeline.history.judge import Rules
from pipeline.history.nightly import NotAccepted, accept_runs, judge_run
from pipeline.history.store import History
from pipeline.plan.model import Plan
from pipeline.records.folder import RunFolder
from tests.pipeline.builders import MadeRun
from tests.pipeline.history.nights import FIRST, make_night, small_plan


def quarantined(**what: str) -> Plan:
    """The small plan with one quarantine over the days of the nights."""
    rule = Quarantine(
        arm="mixed-comm", owner="ada", note="known slow", since=date(2026, 10, 1),
        until=date(2026, 10, 31), **what,
    )  # fmt: skip
    return small_plan().model_copy(update={"quarantine": [rule]})


def night(number: int, home: Path, plan: Plan, factor: float = 1.0, **more: Any) -> RunFolder:
    def ends(made: MadeRun) -> None:
        for cell, record in list(made.records.items()):
            made.change(cell, ended_at=record.started_at)
        if "change" in more:
            more["change"](made)

    def speed(arm: str, _dp: int, metric: str) -> float:
        return factor if (arm, metric) == ("mixed-comm", "median_itl_ms") else 1.0

    return make_night(number, home, plan=plan, speed=speed, change=ends)


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "history.sqlite")
    three = [night(number, tmp_path, small_plan()) for number in range(3)]
    accept_runs(three, made, Rules(), pin="release", reason="good", who="me")
    for number in range(3, 7):
        accept_runs(
            [night(number, tmp_path, small_plan())], made, Rules(), pin="", reason="good", who="me"
        )
    return made


@pytest.mark.parametrize("what", [{}, {"job": "latency", "metric": "median_itl_ms"}])
def test_what_the_own_gate_sets_aside_the_night_sets_aside_too(
    history: History, tmp_path: Path, what: dict[str, str]
) -> None:
    slow = night(7, tmp_path, quarantined(**what), 1.2)
    judgement = judge_run(slow, history, Rules())
    aside = [check for check in judgement.checks if check.metric == "median_itl_ms"]
    found = {(check.arm, check.verdict, bool(check.quarantine)) for check in aside}
    assert found == {
        ("mixed-comm", Verdict.REGRESSED, True), ("nccl", Verdict.PASS, False)
    }  # fmt: skip
    assert "quarantined" in judgement.reason
    counted = [check.verdict for check in judgement.checks if not check.quarantine]
    assert set(counted) == {Verdict.PASS}
    accept_runs([slow], history, Rules(), pin="", reason="nightly", who="cron")
    # what was set aside is accepted as no baseline of itself
    later = judge_run(night(8, tmp_path, small_plan(), 1.2), history, Rules())
    assert later.verdict is Verdict.REGRESSED
    rolling = {
        check.arm: check for check in later.checks
        if (check.metric, check.baseline) == ("median_itl_ms", "rolling")
    }  # fmt: skip
    assert len(rolling["mixed-comm"].nights) == 7
    assert len(rolling["nccl"].nights) == 8


def test_a_lapsed_quarantine_counts_again(history: History, tmp_path: Path) -> None:
    plan = quarantined(job="latency", metric="median_itl_ms")
    rule = plan.quarantine[0].model_copy(update={"until": FIRST.date()})
    slow = night(7, tmp_path, plan.model_copy(update={"quarantine": [rule]}), 1.2)
    assert judge_run(slow, history, Rules()).verdict is Verdict.REGRESSED
    with pytest.raises(NotAccepted, match="regressed"):
        accept_runs([slow], history, Rules(), pin="", reason="nightly", who="cron")


def test_lost_records_of_a_quarantined_arm_do_not_freeze_the_baseline(
    history: History, tmp_path: Path
) -> None:
    def fail(made: MadeRun) -> None:
        made.fail(made.cells("mixed-comm", 2, "latency")[0])

    broken = night(7, tmp_path, quarantined(), change=fail)
    accept_runs([broken], history, Rules(), pin="", reason="nightly", who="cron")
    with pytest.raises(NotAccepted, match="1 failed of 4 records"):
        accept_runs(
            [night(8, tmp_path, small_plan(), change=fail)], history, Rules(), pin="",
            reason="nightly", who="cron",
        )  # fmt: skip


def test_junit_and_github_tell_what_the_night_says(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # both arms slower: the run's own gate sees nothing
    slow = make_night(9, tmp_path, speed=lambda *_: 1.2)
    xml, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = CliRunner().invoke(
        app,
        [
            "gate",
            str(slow.root),
            "--against-history",
            "--history",
            str(history.path),
            "--junit",
            str(xml),
            "--github",
        ],
        env={"COLUMNS": "200"},
        catch_exceptions=False,
    )
    assert done.exit_code == 1, done.output
    root = ET.parse(xml).getroot()
    by_suite = {suite.attrib["name"]: suite for suite in root}
    assert int(by_suite["made-up pinned baseline"].attrib["failures"]) == 2
    assert int(by_suite["made-up rolling baseline"].attrib["failures"]) == 2
    assert int(by_suite["made-up tp8-dp2-ep1"].attrib["failures"]) == 0
    assert by_suite["made-up"].find("testcase/failure") is not None
    errors = [line for line in done.output.splitlines() if line.startswith("::error ")]
    assert "against the accepted nights%3A regressed" in errors[0]
    assert len(errors) == 5
    assert summary.read_text(encoding="utf-8").startswith("# made-up, against the accepted nights")
