"""Gains over every baseline and the noise floor, as a reader gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.build import write
from pipeline.report.tables import gain_text
from tests.pipeline.builders import make_plan_for_test, make_run

FACTORS = {"nccl": 15.155 / 10, "default": 1.3, "nccl-symmetric": 1.4824, "mixed-comm": 1.2924}


@pytest.mark.parametrize(
    ("metric", "ratio", "text"),
    [("median_itl_ms", 12.002 / 14.386, "1.20x"), ("output_throughput", 1.05, "1.05x")],
)
def test_a_gain_is_above_one_whatever_the_metric(metric: str, ratio: float, text: str) -> None:
    assert gain_text(metric, ratio) == text


def _texts(tmp_path: Path, **changes: object) -> tuple[str, str]:
    plan = make_plan_for_test(
        arms=(*FACTORS, "again"), dps=(4,), launches=4, repeating=("again",),
        baselines=("default", "nccl-symmetric") if not changes else (),
    )  # fmt: skip
    factors = FACTORS | {"again": FACTORS["nccl"]}
    folder = make_run(
        plan, speed=lambda arm, dp, metric: factors[arm] if metric == "median_itl_ms" else 1.0
    ).write(tmp_path)
    write(folder)
    return (
        folder.report_md.read_text(encoding="utf-8"),
        folder.report_html.read_text(encoding="utf-8"),
    )


def test_both_reports_have_the_gain_over_each_baseline_and_the_best(tmp_path: Path) -> None:
    for text in _texts(tmp_path):
        assert "Speed against every baseline" in text
        assert "1.17x, ratio 0.853" in text  # over nccl
        assert "1.15x, ratio 0.872" in text  # over nccl-symmetric, as the study's table has it
        assert "1.01x, ratio 0.994" in text  # over default
        assert "(default)" in text
        assert "Noise floor" in text
        assert "bootstrap over launches and runs" in text


def test_without_further_baselines_there_is_no_such_table(tmp_path: Path) -> None:
    for text in _texts(tmp_path, none=True):
        assert "Speed against every baseline" not in text
        assert "Noise floor" in text
