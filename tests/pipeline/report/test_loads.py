"""A sweep in a report: one line for each point of each arm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.plan.model import Plan
from pipeline.report.build import write
from pipeline.report.loads import swept_jobs
from tests.pipeline.builders import make_plan_for_test, make_run

SWEEP = {
    "kind": "latency", "output_len": 24, "sweep": {"input_len": [512, 8192], "concurrency": [16]},
}  # fmt: skip
OTHER = {"kind": "latency", "input_len": 8, "concurrency": 1, "runs": 3}


def _plan(**changes: object) -> Plan:
    return make_plan_for_test(
        dps=(4,), launches=3, jobs={"load": SWEEP, "other": OTHER},
        gates={"load": {"median_itl_ms": {"margin": 0.03}}}, **changes,  # type: ignore[arg-type]
    )  # fmt: skip


def test_points_are_one_sweep_and_another_load_is_none() -> None:
    assert swept_jobs(_plan()) == [["load-512-24-16", "load-8192-24-16"]]


@pytest.mark.parametrize("form", ["md", "html"])
def test_every_point_of_every_arm_has_a_line(tmp_path: Path, form: str) -> None:
    made = make_run(_plan(), speed=lambda arm, dp, metric: 1.2 if arm == "mixed-comm" else 1.0)
    folder = made.write(tmp_path)
    write(folder)
    text = (folder.report_md if form == "md" else folder.report_html).read_text("utf-8")
    assert "Loads of load" in text
    cells = r"mixed-comm[^\n]*8192[^\n]*24[^\n]*16[^\n]*12\.0\d\d ms, 1\.20\d \\?\["
    (line,) = re.findall(rf"{cells}[^\n]*", text)
    assert "regressed" in line


def test_what_is_not_gated_of_a_point_stands_in_its_own_table_only(tmp_path: Path) -> None:
    folder = make_run(_plan()).write(tmp_path)
    write(folder)
    head = next(
        line for line in folder.report_md.read_text("utf-8").splitlines() if "| verdict |" in line
    )
    assert "load-512-24-16 median ITL" in head
    assert "load-512-24-16 output throughput" not in head
    assert "other output throughput" in head
