"""What CI systems get: no verdict but a pass looks like one, and formats hold."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.experiment.quarantine import Quarantine
from pipeline.gate import Judgement, judge
from pipeline.gate.model import Verdict
from pipeline.records.record import Status
from pipeline.report.build import write
from pipeline.report.ci import annotation_lines, junit_xml, summary
from pipeline.report.schema import report_schema_text
from tests.pipeline.builders import MadeRun, make_plan_for_test, make_run

ARM = "mixed-comm"
SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "report.schema.json"


def slow(factor: float = 1.2) -> MadeRun:
    return make_run(
        make_plan_for_test(),
        speed=lambda arm, dp, metric: factor if (arm, dp) == (ARM, 4) else 1.0,
    )


def judged(made: MadeRun) -> Judgement:
    return judge(made.plan, made.records.values(), made.read, made.facts)


def cases(made: MadeRun) -> dict[tuple[str, str], ET.Element]:
    root = ET.fromstring(junit_xml(judged(made), "night"))
    return {(c.attrib["classname"], c.attrib["name"]): c for c in root.iter("testcase")}


def told(case: ET.Element) -> tuple[str, str]:
    [child] = list(case)
    return child.tag, child.attrib["type"]


def test_a_pass_has_nothing_but_cases() -> None:
    made = cases(make_run(make_plan_for_test()))
    assert ("night.tp8-dp4-ep1.mixed-comm", "latency median ITL (ms)") in made
    assert ("night.tp8-dp4-ep1.mixed-comm", "gsm8k score") in made
    assert ("night", "verdict") in made
    assert not [case for case in made.values() if list(case)]


def test_regressed_is_a_failure_of_its_gate_row_and_run() -> None:
    made = cases(slow())
    failing = {key for key, case in made.items() if list(case)}
    group = "night.tp8-dp4-ep1.mixed-comm"
    assert failing == {(group, "latency median ITL (ms)"), (group, "row"), ("night", "verdict")}
    assert {told(made[key]) for key in failing} == {("failure", "regressed")}


def test_inconclusive_missing_and_unsupported_are_told_apart() -> None:
    short = make_run(make_plan_for_test(), questions=30)
    group = "night.tp8-dp4-ep1.mixed-comm"
    assert told(cases(short)[group, "gsm8k score"]) == ("error", "inconclusive")
    lost = make_run(make_plan_for_test())
    lost.fail(lost.cells(ARM, 4, "latency")[0])
    assert told(cases(lost)[group, "latency median ITL (ms)"]) == ("error", "missing")
    not_here = make_run(make_plan_for_test())
    for job in ("gsm8k", "latency"):
        for cell in not_here.cells(ARM, 4, job):
            not_here.fail(cell, Status.UNSUPPORTED, "no such card")
    found = cases(not_here)
    assert told(found[group, "row"]) == ("skipped", "unsupported")
    assert told(found[group, "gsm8k score"]) == ("skipped", "unsupported")


def test_what_no_gate_sees_fails_its_row() -> None:
    made = make_run(make_plan_for_test(gates={"gsm8k": {"score": {"margin": 0.03}}}))
    made.fail(made.cells(ARM, 4, "latency")[0])
    group = "night.tp8-dp4-ep1.mixed-comm"
    assert list(cases(made)[group, "gsm8k score"]) == []
    assert told(cases(made)[group, "row"]) == ("error", "missing")


def test_counts_are_those_of_the_cases() -> None:
    root = ET.fromstring(junit_xml(judged(slow()), "night"))
    assert {key: root.attrib[key] for key in ("failures", "errors", "skipped")} == {
        "failures": "3", "errors": "0", "skipped": "0",
    }  # fmt: skip
    assert int(root.attrib["tests"]) == len(list(root.iter("testcase")))


def test_control_characters_of_a_log_do_not_break_the_xml() -> None:
    made = slow()
    made.fail(made.cells(ARM, 2, "latency")[0], reason="\x1b[31m<&> broke\x00")
    assert cases(made)


def quarantined() -> MadeRun:
    made = slow()
    known = Quarantine(
        arm=ARM, owner="us", note="ticket", since=date(2026, 11, 20), until=date(2026, 11, 30)
    )
    made.plan = made.plan.model_copy(
        update={"quarantine": [known.model_copy(update={"layout": "tp8-dp4-*"})]}
    )
    return made


def test_quarantined_is_skipped_and_says_what_was_found() -> None:
    case = cases(quarantined())["night.tp8-dp4-ep1.mixed-comm", "row"]
    assert told(case) == ("skipped", "quarantined")
    assert "found regressed" in case[0].attrib["message"]


def test_annotations() -> None:
    assert annotation_lines(judged(make_run(make_plan_for_test()))) == []
    run, row = annotation_lines(judged(slow()))
    assert run.startswith("::error title=servegate%3A regressed::1 of 4 rows regressed")
    assert row.startswith("::error title=mixed-comm on tp8-dp4-ep1%3A regressed::latency median")
    assert "20.0 %25" in row
    assert "\n" not in row
    [aside] = annotation_lines(judged(quarantined()))
    assert aside.startswith("::notice title=mixed-comm on tp8-dp4-ep1%3A quarantined%2C regressed")
    inconclusive = annotation_lines(judged(make_run(make_plan_for_test(), questions=30)))
    assert {line.split(" ")[0] for line in inconclusive} == {"::warning"}


def test_no_more_annotations_than_are_shown() -> None:
    plan = make_plan_for_test(arms=("nccl", *(f"arm-{n}" for n in range(8))))
    found = judged(make_run(plan, speed=lambda arm, dp, metric: 1.0 if arm == "nccl" else 1.5))
    assert sum(row.verdict is Verdict.REGRESSED for row in found.rows) == 16
    lines = annotation_lines(found)
    assert len(lines) == 10
    assert "16 of 18 rows regressed" in lines[0]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_gate_speaks_to_github_only_where_it_is_asked(
    tmp_path: Path, environ: pytest.MonkeyPatch
) -> None:
    folder = slow().write(tmp_path / "runs")
    shown = tmp_path / "summary.md"
    environ.setenv("GITHUB_STEP_SUMMARY", str(shown))
    quiet = CliRunner().invoke(app, ["gate", str(folder.root)])
    assert (quiet.exit_code, "::error" in quiet.output, shown.exists()) == (1, False, False)
    asked = CliRunner().invoke(app, ["gate", str(folder.root), "--github"])
    assert (asked.exit_code, "::error title=" in asked.output) == (1, True)
    environ.setenv("GITHUB_ACTIONS", "true")
    document = CliRunner().invoke(app, ["gate", str(folder.root), "--json"])
    assert json.loads(document.stdout)["verdict"] == "regressed"
    text = shown.read_text(encoding="utf-8")
    assert text.count("# made-up: ✗ regressed") == 2  # appended, as GitHub asks
    assert "## Verdicts" in text
    assert "## Proof of path" not in text


def test_the_summary_ends_behind_the_verdicts() -> None:
    assert summary("# a\n\nb\n\n## Verdicts\n\nc\n\n## Rest\n\nd\n") == (
        "# a\n\nb\n\n## Verdicts\n\nc\n"
    )


def test_junit_lies_beside_the_report(tmp_path: Path) -> None:
    folder = slow().write(tmp_path / "runs")
    write(folder)
    first = folder.junit.read_bytes()
    folder.junit.unlink()
    write(folder)
    assert folder.junit.read_bytes() == first
    other = tmp_path / "junit.xml"
    CliRunner().invoke(app, ["gate", str(folder.root), "--junit", str(other)])
    assert other.read_bytes() == first


def test_the_committed_schema_of_reports_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == report_schema_text(), "run: make schema"


def test_a_report_is_as_its_schema_says(tmp_path: Path) -> None:
    schema = json.loads(report_schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for made in (slow(), quarantined(), make_run(make_plan_for_test(), questions=30)):
        made.fail(made.cells(ARM, 2, "latency")[0])
        folder = made.write(tmp_path)
        write(folder)
        report = json.loads(folder.report_json.read_text(encoding="utf-8"))
        validator.validate(report)
        del report["rows"][1]["verdict"]
        assert [error.message for error in validator.iter_errors(report)] == [
            "'verdict' is a required property"
        ]
