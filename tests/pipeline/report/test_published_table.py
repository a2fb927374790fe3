"""Published figures come out as they were published, and never as something that was checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.experiment.yaml_source import SourceError
from pipeline.report.published import document
from pipeline.report.published_table import load_published
from pipeline.report.render import render_published
from tests.pipeline.runs import servegate

STUDY = Path(__file__).resolve().parents[3] / "experiments" / "published" / "sglang-23713.yaml"

# The study's table: attention DP, metric, three backends, gain over NCCL symmetric.
TABLE = """
2 | median ITL | 14.889 | 14.386 | 12.002 | 1.20x
2 | with load imbalance | 3.817 | 3.631 | 2.145 | 1.69x
2 | without load imbalance | 1.582 | 1.323 | 0.399 | 3.32x
4 | median ITL | 15.155 | 14.824 | 12.924 | 1.15x
4 | with load imbalance | 3.595 | 3.261 | 2.286 | 1.43x
4 | without load imbalance | 1.274 | 1.267 | 0.405 | 3.13x
8 | median ITL | 15.043 | 14.262 | 13.560 | 1.05x
8 | with load imbalance | 2.492 | 1.776 | 1.435 | 1.24x
8 | without load imbalance | 1.168 | 0.673 | 0.340 | 1.98x
"""
CELLS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize("cells", CELLS, ids=lambda cells: f"{cells[0]} {cells[1]}")
def test_the_studys_table_is_reproduced(cells: list[str]) -> None:
    markdown, page = render_published(document(load_published(STUDY)))
    dp, metric, *numbers, gain = cells
    told = r" \| ".join(map(re.escape, numbers))
    line = rf"^\| attention DP {dp} \| [^|]*{metric} \(ms\) \| {told} \| [\d.]+x \| {gain} \|$"
    assert re.search(line, markdown, re.MULTILINE)
    assert all(f"<td>{number}</td>" in page for number in [*numbers, gain])


def test_it_is_marked_as_reported_without_intervals_and_has_no_verdict() -> None:
    told = document(load_published(STUDY))
    assert (told["verdict"], told["exit_code"]) == ("missing", 3)
    assert told["reason"].startswith("reported without intervals")
    for text in render_published(told):
        assert "reported without intervals" in text


def test_what_its_communication_time_does_not_explain() -> None:
    """At attention DP 4 ITL fell by 1.90 ms and the kernels by 0.98 ms."""
    found = {(one["case"], one["over"]): one for one in document(load_published(STUDY))["closure"]}
    one = found["attention DP 4", "nccl-symmetric"]
    assert (one["whole_change"], one["part_change"], one["unexplained"]) == (-1.9, -0.975, -0.925)
    assert one["texts"] == ["-1.900", "-0.975", "-0.925"]
    assert len(found) == 6


def test_scores_without_a_baseline_have_no_gain() -> None:
    told = document(load_published(STUDY))
    (row,) = (
        r for r in told["rows"] if (r["case"], r["metric"]) == ("attention DP 8", "gpqa_score")
    )
    assert row["texts"] == dict.fromkeys(told["baselines"], "\N{EN DASH}") | {"mixed-comm": "0.869"}
    assert row["gains"] == {}


def _table(**changes: Any) -> dict[str, Any]:
    return {
        "name": "other",
        "title": "Somebody's table",
        "source": "a page",
        "candidate": "new",
        "baselines": ["old"],
        "metrics": {"output_throughput": {}},
        "rows": [
            {"case": "a", "metric": "output_throughput", "values": {"old": 100.0, "new": 125.0}}
        ],
        **changes,
    }


def _write(tmp_path: Path, data: dict[str, Any]) -> Path:
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_anybodys_table_with_intervals_and_known_metrics(tmp_path: Path) -> None:
    figure = {"value": 125.0, "low": 120.0, "high": 131.0}
    row = {"case": "a", "metric": "output_throughput", "values": {"old": 100.0, "new": figure}}
    told = document(load_published(_write(tmp_path, _table(rows=[row]))))
    assert told["rows"][0]["texts"] == {"old": "100.00", "new": "125.00 [120.00, 131.00]"}
    assert told["rows"][0]["gains"] == {"old": 1.25}  # more throughput is better
    assert told["rows"][0]["label"] == "output throughput"
    assert told["intervals"] == "reported with some intervals"


def _row(**changes: Any) -> list[dict[str, Any]]:
    return [{**_table()["rows"][0], **changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": _row(gains={"old": 1.2})}, "gains.old: published as 1.2, but its own values"),
        ({"rows": _row(values={"old": 1.0, "newer": 2.0})}, "values.newer: is no arm"),
        ({"rows": _row(values={"new": 1.234})}, "values.new: 1.234 has more than 2 digits"),
        ({"rows": _row(metric="speed")}, "rows.0.metric: 'speed' is not in metrics"),
        ({"rows": _row() * 2}, "rows.1: output_throughput of a stands twice"),
        ({"metrics": {"speed": {"unit": "m/s"}}}, "metrics.speed: servegate knows no such"),
        ({"baselines": ["new"]}, "baselines: an arm stands there twice"),
        ({"parts": [{"whole": "x", "part": "output_throughput"}]}, "parts: 'x' is no metric"),
        ({"sauce": 1}, "sauce: unknown field"),
        (
            {"rows": _row(values={"new": {"value": 1.0, "low": 2.0, "high": 3.0}})},
            "does not lie in [2, 3]",
        ),
    ],
)
def test_a_table_that_is_wrong_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError) as caught:
        load_published(_write(tmp_path, _table(**changes)))
    assert message in str(caught.value)


def test_a_benchmarks_result_is_no_table_and_that_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({"tag": None, "backend": "sglang", "median_itl_ms": 8.0}))
    with pytest.raises(SourceError) as refused:
        load_published(path)
    [problem] = refused.value.problems
    assert "is no table of published figures" in problem
    assert problem.endswith("are read by `servegate compare`")


def test_the_command_writes_the_report_and_prints_its_document(tmp_path: Path) -> None:
    done = servegate("report", "--external", STUDY, "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "published" / "sglang-23713"
    assert json.loads(done.stdout) == json.loads((folder / "report.json").read_text("utf-8"))
    assert "1.20x" in (folder / "report.md").read_text("utf-8")
    both = servegate("report", "x", "--external", STUDY, cwd=tmp_path)
    assert both.returncode == 2
    assert "either a run folder or --external" in both.stderr
