"""Reports come from records alone, byte for byte, say what was not checked, and stay text."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evals.job import Answer
from pipeline.gate import Verdict
from pipeline.records.folder import RunFolder
from pipeline.records.record import PremiseResult, RecordError, read_answers
from pipeline.report.build import Report, build, write
from pipeline.report.charts import nice_ticks
from pipeline.report.render import flat
from pipeline.report.terminal import terminal_table
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"
NASTY = "died: <script>alert('x')</script> & <img src=x onerror=y> | `code` | **bold** \x1b[31mred"


def slower(arm: str, dp: int, metric: str) -> float:
    return 1.2 if arm == ARM else 1.0


@pytest.fixture
def broken(tmp_path: Path) -> RunFolder:
    """A run with a slow arm, a failed record with a nasty log, and an unproved premise."""
    made = make_run(make_plan_for_test(), speed=slower)
    cell = made.cells(ARM, 2, "latency")[0]
    made.fail(cell, reason=NASTY)
    made.change(cell, log_tail=["```", NASTY, "</pre></details>"])
    open_ = PremiseResult(name="path", state="unproved", detail="only a trace shows <b>")
    for one in made.cells("nccl", 4, "latency"):
        made.change(one, premises=[open_])
    return made.write(tmp_path / "runs")


def reports(run: RunFolder) -> list[bytes]:
    return [path.read_bytes() for path in (run.report_json, run.report_md, run.report_html)]


class Page(HTMLParser):
    """What a browser would make of the page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "line", "path", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_is_rebuilt_byte_for_byte(broken: RunFolder) -> None:
    write(broken)
    first = reports(broken)
    for path in (broken.report_json, broken.report_md, broken.report_html):
        path.unlink()
    write(broken)
    assert reports(broken) == first


def test_a_report_does_not_depend_on_where_the_run_lies(broken: RunFolder, tmp_path: Path) -> None:
    write(broken)
    first = reports(broken)
    moved = RunFolder(broken.root.rename(tmp_path / "elsewhere"))
    write(moved)
    assert reports(moved) == first
    assert str(tmp_path).encode() not in b"".join(first)


def test_report_json_says_it_all(broken: RunFolder) -> None:
    report = write(broken)
    document = json.loads(broken.report_json.read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    assert (document["verdict"], document["exit_code"]) == ("regressed", 1)
    rows = {(row["layout"]["name"], row["arm"]): row for row in document["rows"]}
    assert rows["tp8-dp2-ep1", ARM]["verdict"] == "missing"
    assert rows["tp8-dp4-ep1", ARM]["verdict"] == "regressed"
    assert rows["tp8-dp4-ep1", "nccl"]["role"] == "reference"
    [itl] = [
        check for check in rows["tp8-dp4-ep1", ARM]["checks"] if check["metric"] == "median_itl_ms"
    ]
    assert itl["estimate"] == pytest.approx(1.2, abs=0.01)
    assert itl["interval"][0] < itl["estimate"] < itl["interval"][1]
    assert document["provenance"]["machine"]["host"] == "node-1"
    assert document["failures"][0]["log_tail"][0] == "```"
    short = report.verdict_document()
    assert json.loads(json.dumps(short))["exit_code"] == document["exit_code"]
    assert [row["verdict"] for row in short["rows"]] == [row["verdict"] for row in document["rows"]]


def test_html_is_well_formed_and_text_stays_text(broken: RunFolder) -> None:
    write(broken)
    page = Page(broken.report_html.read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert "img" not in {tag for tag, _ in page.tags}
    assert "<script>alert('x')</script>" in page.text
    assert "</pre></details>" in page.text
    assert "\x1b" not in page.text
    assert "<H200>" in page.text


def test_html_needs_nothing_from_outside(broken: RunFolder) -> None:
    write(broken)
    text = broken.report_html.read_text(encoding="utf-8")
    loaded = [
        (tag, name)
        for tag, attributes in Page(text).tags
        for name in attributes
        if name in ("src", "href", "srcset", "data")
    ]
    assert loaded == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_html_names_its_parts_for_those_who_do_not_see_them(broken: RunFolder) -> None:
    write(broken)
    page = Page(broken.report_html.read_text(encoding="utf-8"))
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 2
    for chart in charts:
        assert chart["role"] == "img"
        assert "mixed-comm on tp8-dp4-ep1" in str(chart["aria-label"])
    heads = [attributes for tag, attributes in page.tags if tag == "th"]
    assert all("scope" in attributes for attributes in heads)
    assert "✗ regressed" in " ".join(page.text.split())


def test_layouts_stand_in_the_plans_order(tmp_path: Path) -> None:
    run = make_run(make_plan_for_test(dps=(8, 2, 4))).write(tmp_path / "runs")
    write(run)
    for path in (run.report_html, run.report_md):
        text = path.read_text(encoding="utf-8")
        places = [text.index(f"tp8-dp{dp}-ep1", text.index("latency")) for dp in (8, 2, 4)]
        assert places == sorted(places)


def test_markdown_keeps_its_tables_and_fences(broken: RunFolder) -> None:
    write(broken)
    text = broken.report_md.read_text(encoding="utf-8")
    table: list[int] = []
    for line in text.splitlines():
        if line.startswith("|"):
            table.append(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(set(table)) <= 1, line
            table = []
    assert "<script>" not in text.split("````text")[0]
    assert text.count("````") == 2  # longer than the fence inside the log
    assert "## Not checked" in text


def test_failures_show_class_reason_and_log(broken: RunFolder) -> None:
    report = write(broken)
    [failure] = report.failures
    assert (failure.status, failure.failure_class) == ("failed", "crashed")
    assert failure.reason == NASTY
    assert failure.log_tail[-1] == "</pre></details>"


def built(made: MadeRun, tmp_path: Path) -> Report:
    return build(made.write(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gates": {}}, "Anything: no gate"),
        ({"gates": {"latency": {"median_itl_ms": {"margin": 0.1}}}}, "Accuracy: no gate"),
        ({"gates": {"gsm8k": {"score": {"margin": 0.1}}}}, "Speed: no gate"),
        ({"gates": {"gsm8k": {"score": {"margin": 0.1}}}}, "The level of a score"),
        ({"launches": 1}, "How launches differ by themselves"),
        ({}, "Whether answers differ from launch to launch"),
        ({}, "The noise floor"),
        ({"dps": (2,)}, "The reference against itself"),
        ({}, "Measured and shown, but not gated, in latency: p99 ITL"),
        ({}, "Time in communication kernels"),
    ],
)
def test_what_was_not_checked_is_said(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    report = built(make_run(make_plan_for_test(**changes)), tmp_path)
    assert any(text.startswith(expected) for text in report.not_checked)


def test_what_was_checked_is_not_in_that_list(tmp_path: Path) -> None:
    gates = {
        "gsm8k": {"score": {"margin": 0.1, "floor": 0.5}},
        "latency": {"median_itl_ms": {"margin": 0.1}},
    }
    said = " ".join(built(make_run(make_plan_for_test(gates=gates)), tmp_path).not_checked)
    for text in ("no gate on", "no floor", "How launches differ", "has one layout", "“layout”"):
        assert text not in said
    assert "Premise “decode kernels”, unproved for nccl on tp8-dp2-ep1" in said
    assert "median ITL" not in said


def test_unproved_premises_are_not_checked(broken: RunFolder) -> None:
    said = [text for text in build(broken).not_checked if text.startswith("Premise")]
    assert said[0].startswith("Premise “decode kernels”, unproved for nccl on tp8-dp2-ep1, mixed")
    assert said[1] == "Premise “path”, unproved for nccl on tp8-dp4-ep1: only a trace shows <b>."


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [("fake", "cuda", "nothing was measured"), ("sglang", "cpu", "never the speed of a GPU")],
)
def test_the_caveat_stands_before_the_numbers(
    tmp_path: Path, engine: str, device: str, expected: str
) -> None:
    run = make_run(make_plan_for_test(engine=engine, device=device)).write(tmp_path / "runs")
    write(run)
    for path in (run.report_html, run.report_md):
        text = path.read_text(encoding="utf-8")
        assert 0 < text.index(expected) < text.index("median ITL")
    assert expected in json.loads(run.report_json.read_text(encoding="utf-8"))["caveats"][0]


def test_a_gpu_run_has_no_caveat(tmp_path: Path) -> None:
    assert built(make_run(make_plan_for_test()), tmp_path).caveats == []


def test_a_run_without_records_still_reports(tmp_path: Path) -> None:
    report = write(MadeRun(make_plan_for_test()).write(tmp_path / "runs"))
    assert (report.judgement.verdict, report.records) == (Verdict.MISSING, 0)


def test_a_damaged_record_is_named(broken: RunFolder) -> None:
    launch = build(broken).plan.launches[0]
    path = broken.launch(launch.id).cell("latency").record
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(RecordError, match=re.escape(str(path))):
        write(broken)


def test_damaged_answers_make_a_row_missing(broken: RunFolder) -> None:
    launch = next(one for one in build(broken).plan.launches if one.arm == ARM)
    path = broken.launch(launch.id).cell("gsm8k").answers
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    rows = build(broken).judgement.rows
    [row] = [r for r in rows if (r.arm, r.layout) == (ARM, launch.layout)]
    assert row.verdict is Verdict.MISSING
    assert any("whole answer line" in reason for reason in row.reasons)


def test_the_terminal_table_has_a_row_each(broken: RunFolder) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal_table(build(broken).judgement))
    text = console.export_text()
    for expected in ("✗ regressed", "∅ missing", "✓ pass", "3 of 4 ok, 1 failed", "1.200 [1.19"):
        assert expected in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (-14.0, 1.3, [-15, -10, -5, 0, 5]),
        (9.99, 10.01, [9.99, 9.995, 10.0, 10.005, 10.01]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_equal_values_still_have_an_axis() -> None:
    for value in (5.0, 0.0, -0.3):
        ticks = nice_ticks(value, value)
        assert ticks[0] < value < ticks[-1]


def test_notes_are_laid_flat_in_their_order() -> None:
    notes = {"b": {"x": [1, 2], "y": None}, "a": [{"name": "H200"}], "c": {}, "d": True}
    assert flat(notes) == [
        ("b.x", "1 2"),
        ("b.y", "\N{EN DASH}"),
        ("a.0.name", "H200"),
        ("c", "\N{EN DASH}"),
        ("d", "yes"),
    ]


def test_each_file_of_answers_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_run(make_plan_for_test(dps=(2, 4), baselines=()), questions=20)
    seen: list[Path] = []

    def counting(cell: Path) -> list[Answer]:
        seen.append(cell)
        return read_answers(cell)

    monkeypatch.setattr("pipeline.report.build.read_answers", counting)
    report = built(made, tmp_path)
    assert len(seen) == len(set(seen)) == len(made.answers) == 4
    scores = [
        one.value for row in report.judgement.rows for one in row.measured if one.metric == "score"
    ]
    assert scores == [0.8] * 4
    assert [pairing.questions for pairing in report.pairings] == [20, 20]


def test_answers_without_a_reference_to_pair_them_with_are_judged(tmp_path: Path) -> None:
    made = make_run(make_plan_for_test(dps=(2,)), questions=20)
    made.fail(made.cells("nccl", 2, "gsm8k")[0])
    report = built(made, tmp_path)
    [arm] = [row for row in report.judgement.rows if row.arm == ARM]
    assert [one.n for one in arm.measured if one.metric == "score"] == [20]
    assert report.pairings == []
