from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from pipeline.gate.model import Verdict
from pipeline.history import show
from pipeline.history.chart import history_page
from pipeline.history.judge import Rules
from pipeline.history.nightly import accept_runs, judge_run
from pipeline.history.series import Line, Shift, make_lines, shifts
from pipeline.history.show import Shown, document, read_history, show_history
from pipeline.history.store import History
from pipeline.records.record import RecordError
from tests.pipeline.history.nights import FACTS, make_night


def speed(factor: float) -> Any:
    return lambda arm, dp, metric: factor if arm == "nccl" and metric == "median_itl_ms" else 1.0


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Ten nights; from the seventh on a new torch, and one arm is 8 % slower."""
    home = tmp_path_factory.mktemp("lines")
    made = History(home / "history.sqlite")
    newer = {"packages": {**FACTS["packages"], "torch": "<2.10>"}}
    for number in range(10):
        bad = number >= 6
        folder = make_night(
            number, home, facts=newer if bad else None, speed=speed(1.08 if bad else 1.0)
        )
        verdict = judge_run(folder, made, Rules()).verdict
        assert (verdict is Verdict.REGRESSED) == bad
        if not bad:
            accept_runs(
                [folder], made, Rules(), pin="" if number else "<release>", reason="a < b", who="me"
            )
    return made


def line_of(history: History, found: Any = None) -> Line:
    name = "made-up"
    lines = make_lines(
        history.nights(name), history.acceptances(name), history.judgements(name),
        ["median_itl_ms"], found,
    )  # fmt: skip
    return next(line for line in lines if line.arm == "nccl")


def test_the_first_bad_night_is_named_with_what_changed_since_the_last_good_one(
    history: History,
) -> None:
    line, nights = line_of(history), history.nights("made-up")
    assert line.first_bad is not None
    assert line.first_bad.run == nights[6].run
    assert line.first_bad.since == nights[5].run
    assert line.first_bad.changed == ["packages.torch: 2.9.0 -> <2.10>"]
    assert [point.verdict for point in line.points[6:]] == [Verdict.REGRESSED] * 4
    assert line.points[0].pin == "<release>"


def test_a_change_of_level_says_whether_it_harms(history: History) -> None:
    def found(values: Any) -> list[Shift]:
        return [Shift(index=6, before=10.0, after=10.8, p=1e-6)]

    (change,) = line_of(history, found).changes
    assert change.run == history.nights("made-up")[6].run
    assert change.harm
    assert change.relative == pytest.approx(0.08)
    assert change.changed == ["packages.torch: 2.9.0 -> <2.10>"]

    def gain(values: Any) -> list[Shift]:
        return [Shift(index=6, before=10.8, after=10.0, p=1e-6)]

    assert not line_of(history, gain).changes[0].harm


def test_otava_finds_the_step_and_none_in_what_does_not_move() -> None:
    noise = [0.0, 0.03, -0.02, 0.04, -0.04, 0.01, -0.01, 0.02, -0.03, 0.0]
    steady = [10 + one for one in noise * 3]
    assert shifts(steady) == []
    (found,) = shifts([*steady[:20], *(1.03 * one for one in steady[20:])])
    assert found.index == 20
    assert found.after / found.before == pytest.approx(1.03, abs=0.005)
    assert shifts([10.0, 10.0, 20.0]) == []  # too few to say


def test_without_otava_nobody_is_told_that_there_is_no_drift(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "otava_missing", lambda: "drift was not looked for: no otava")
    (shown,) = read_history(history, [], None, 60)
    assert {line.drift for line in shown.lines} == {"drift was not looked for: no otava"}
    assert "drift was not looked for" in history_page([shown])
    assert "drift was not looked for" in printed(shown)


def printed(*shown: Shown) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        show_history(list(shown), console)
        return console.export_text()


def test_gated_metrics_are_shown_unless_others_are_asked_for(history: History) -> None:
    (shown,) = read_history(history, [], "made-up", 60)
    assert {line.metric for line in shown.lines} == {"score", "median_itl_ms"}
    (asked,) = read_history(history, ["output_throughput"], None, 3)
    assert {line.metric for line in asked.lines} == {"output_throughput"}
    assert {len(line.points) for line in asked.lines} == {3}
    with pytest.raises(RecordError, match="no metric itl"):
        read_history(history, ["itl"], None, 60)
    with pytest.raises(RecordError, match="no night of other; there are: made-up"):
        read_history(history, [], "other", 60)


def test_the_page_shows_the_bad_night_and_escapes_what_it_is_given(history: History) -> None:
    page = history_page(read_history(history, ["median_itl_ms"], None, 60))
    assert page.count("<svg") == 2
    assert page.count('class="bad"') == 4  # one cross a regressed night, in one chart only
    assert "first bad night: " + history.nights("made-up")[6].run in page
    assert "packages.torch: 2.9.0 -&gt; &lt;2.10&gt;" in page
    assert "<release>" not in page
    assert "a &lt; b" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_document_is_json_with_every_point(history: History) -> None:
    found = json.loads(document(read_history(history, ["median_itl_ms"], None, 60)))
    lines = found["experiments"][0]["lines"]
    assert found["schema_version"] == 1
    assert len(lines[0]["points"]) == 10
    bad = next(line for line in lines if line["arm"] == "nccl")["first_bad"]
    assert bad["run"] == history.nights("made-up")[6].run
