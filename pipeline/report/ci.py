"""A judgement as JUnit XML: a test case for each layout, arm and gated metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from evals.metrics import METRICS
from pipeline.gate.model import Check, Judgement, Row, Verdict
from pipeline.gate.rows import gate_name

# GitHub shows at most ten annotations of each kind for a step, and drops the rest in silence.
MOST = 10

# Workflow commands of docs.github.com/actions: error, warning, notice. Whatever is no pass and no
# plain regression is a warning, since servegate cannot vouch for it and ends with 3.
COMMANDS = {
    Verdict.REGRESSED: "error",
    Verdict.INCONCLUSIVE: "warning",
    Verdict.MISSING: "warning",
    Verdict.UNSUPPORTED: "notice",
}


def annotation_lines(judgement: Judgement) -> list[str]:
    """Workflow commands, one for the run and one for each row that is no pass.

    A run that is no pass without a row to say why still has its own.
    """
    made = []
    overall = COMMANDS.get(judgement.verdict)
    if overall is not None:
        made.append(command(overall, f"servegate: {judgement.verdict.value}", judgement.reason))
    counts: dict[str, int] = {overall: 1} if overall is not None else {}
    for row in judgement.rows:
        name = "notice" if row.quarantine else COMMANDS.get(row.verdict)
        if name is None or counts.get(name, 0) >= MOST:
            continue
        counts[name] = counts.get(name, 0) + 1
        made.append(command(name, _title(row), _told(row)))
    return made


def _title(row: Row) -> str:
    aside = "quarantined, " if row.quarantine else ""
    return f"{row.arm} on {row.layout}: {aside}{row.verdict.value}"


def _told(row: Row) -> str:
    told = [row.quarantine] if row.quarantine else []
    return "\n".join([*told, *row.reasons]) or row.verdict.value


def command(name: str, title: str, text: str) -> str:
    """One workflow command, escaped as actions/toolkit does.

    Properties take two characters more than the message.
    """
    message = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    head = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    head = head.replace(":", "%3A").replace(",", "%2C")
    return f"::{name} title={head}::{message}"


def summary(markdown: str) -> str:
    """The head of a report for the step's summary: title, reason, caveats and the verdicts.

    Args:
        markdown: The whole report.md.
    """
    parts = markdown.split("\n## ")
    return "\n## ".join(parts[:2]).rstrip() + "\n"


# What each verdict is in a format that knows pass, failure, error and skipped only.
#
# An inconclusive gate is an error, not a skip: servegate ends with 3 on it, while most readers
# count a skipped case as fine, and a gate that decides nothing night after night must not be green.
# Unsupported is a skip: it takes no part in the verdict, by a reason known before the run. The
# type attribute tells inconclusive and missing apart.
_ELEMENTS = {
    Verdict.REGRESSED: "failure",
    Verdict.INCONCLUSIVE: "error",
    Verdict.MISSING: "error",
    Verdict.UNSUPPORTED: "skipped",
}


class Case(NamedTuple):
    """One test case."""

    name: str
    group: str
    verdict: Verdict
    reason: str
    aside: str = ""


def junit_xml(judgement: Judgement, experiment: str) -> str:
    """One suite a layout, and one for the run as a whole.

    Every row has a case of its own verdict besides those of its gates: what no gate sees, such as
    a lost record of another job, must not look like a pass.

    Args:
        judgement: What the run shows.
        experiment: Its name.
    """
    whole = Case("verdict", experiment, judgement.verdict, judgement.reason)
    return document([*own_suites(judgement, experiment), suite(experiment, [whole])])


def own_suites(judgement: Judgement, experiment: str) -> list[ET.Element]:
    """A suite for each layout of a run, without one for the run as a whole."""
    return [
        suite(f"{experiment} {name}", [case for row in rows for case in _cases(row, experiment)])
        for name, rows in _by_layout(judgement.rows)
    ]


def document(suites: Sequence[ET.Element]) -> str:
    """The whole file."""
    root = ET.Element("testsuites", {"name": "servegate", **_totals(suites)})
    root.extend(suites)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _by_layout(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    names = dict.fromkeys(str(row.layout) for row in rows)
    return [(name, [row for row in rows if str(row.layout) == name]) for name in names]


def _cases(row: Row, experiment: str) -> list[Case]:
    group = f"{experiment}.{row.layout}.{row.arm}"
    made = [_of_check(check, group, row) for check in row.checks if check.verdict is not None]
    reasons = "; ".join(row.reasons)
    return [*made, Case("row", group, row.verdict, reasons, row.quarantine)]


def _of_check(check: Check, group: str, row: Row) -> Case:
    assert check.verdict is not None
    unsupported = row.verdict is Verdict.UNSUPPORTED
    verdict = Verdict.UNSUPPORTED if unsupported else check.verdict
    aside = row.quarantine or check.quarantine
    unit = METRICS[check.metric].unit
    name = gate_name(check) + (f" ({unit})" if unit else "")
    return Case(name, group, verdict, check.reason, aside)


def suite(name: str, cases: Sequence[Case]) -> ET.Element:
    """One suite of cases, with its counts."""
    made_suite = ET.Element("testsuite", {"name": name})
    for case in cases:
        made = ET.SubElement(made_suite, "testcase", {"classname": case.group, "name": case.name})
        element = "skipped" if case.aside else _ELEMENTS.get(case.verdict)
        if element is not None:
            kind = "quarantined" if case.aside else case.verdict.value
            told = f"{case.aside}: found {case.verdict.value}" if case.aside else kind
            message = _clean(f"{told}: {case.reason}" if case.reason else told)
            ET.SubElement(made, element, {"type": kind, "message": message})
    counts = {
        "tests": len(cases),
        "failures": len(made_suite.findall("testcase/failure")),
        "errors": len(made_suite.findall("testcase/error")),
        "skipped": len(made_suite.findall("testcase/skipped")),
    }
    made_suite.attrib.update({key: str(value) for key, value in counts.items()})
    return made_suite


def _totals(suites: Sequence[ET.Element]) -> dict[str, str]:
    names = ("tests", "failures", "errors", "skipped")
    return {name: str(sum(int(suite.attrib[name]) for suite in suites)) for name in names}


def _clean(text: str) -> str:
    """XML 1.0 has no control characters, not even escaped; a log's line may hold some."""
    return "".join(char for char in text if char >= " " or char in "\t\n")
