"""Records of real GPUs: their reports come out of them again and say what they must say."""

from __future__ import annotations

import shutil
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pytest

from pipeline.experiment.model import Experiment
from pipeline.power import speed_powers
from pipeline.power.measured import measured_basis
from pipeline.records.folder import RunFolder
from pipeline.report.build import write
from scripts.gpu_smoke.clean import leaks
from scripts.gpu_smoke.figures import FIGURES, filled, marked
from scripts.gpu_smoke.kept_text import texts
from scripts.gpu_smoke.records_page import page
from tests.scripts.records import GPU_PAGE, RECORDS, RUNS, name_of, read, runs_of

_ITL = "median_itl_ms"
# Student's t at 0.95 by degrees of freedom, from a table.
_T95 = {1: 6.313752, 2: 2.919986, 3: 2.353363, 4: 2.131847}


def launches(run: Path, arm: str) -> dict[int, float]:
    """Median ITL of each launch by block: the median of its runs that count, from record.json."""
    found = {}
    for path in run.glob("launches/*/cells/latency/record.json"):
        record = read(path)
        if record["arm"] == arm:
            counted = record["runs"][record["details"]["dropped_runs"] :]
            found[record["block"]] = median(one[_ITL] for one in counted)
    return found


def planned(run: Path) -> int:
    return sum(len(launch["cells"]) for launch in read(run / "plan.json")["launches"])


def recorded(run: Path) -> int:
    return len(list(run.glob("launches/*/cells/*/record.json")))


def bounds(run: Path, arm: str) -> tuple[float, float, float]:
    """Ratio to the reference and its 90 % interval, paired by block."""
    own, reference = launches(run, arm), launches(run, "reference")
    logs = [log(own[block] / reference[block]) for block in reference]
    half = _T95[len(logs) - 1] * max(stdev(logs), 0.001) / sqrt(len(logs))
    return exp(fmean(logs)), exp(fmean(logs) - half), exp(fmean(logs) + half)


def itl_check(run: Path, arm: str) -> dict[str, Any]:
    [row] = [row for row in read(run / "report.json")["rows"] if row["arm"] == arm]
    [check] = [
        one for one in row["checks"] if (one["metric"], one["against"]) == (_ITL, "reference")
    ]
    found: dict[str, Any] = check
    return found


def test_the_runs_that_the_page_is_about_are_kept() -> None:
    kept = {run.parent.name for run in RUNS}
    assert {"h100-smoke", "h100-answers", "h100-traces", "h100-hang", "h100x2-comm"} <= kept


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_a_report_comes_out_of_the_records_byte_for_byte(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    committed = [path.name for path in run.iterdir() if path.name.startswith("report.")]
    assert {"report.json", "report.md"} <= set(committed)
    for name in committed:
        (copy / name).unlink()
    write(RunFolder(copy))
    for name in [*committed, "junit.xml", "flips.jsonl"]:
        assert (copy / name).read_bytes() == (run / name).read_bytes(), (
            f"{run / name}: not what servegate makes of the records; servegate report {run}"
        )


def test_nothing_matches_the_patterns_of_names() -> None:
    found = [
        f"{path}:{leak.line}: {leak.what}: {leak.text}"
        for path in RECORDS.rglob("*")
        if path.is_file()
        for text in texts(path)
        for leak in leaks(text)
    ]
    assert found == []


@pytest.mark.parametrize("session", sorted(RECORDS.iterdir()), ids=lambda path: path.name)
def test_the_page_beside_them_is_made_of_them(session: Path) -> None:
    assert (session / "README.md").read_text(encoding="utf-8") == page(session)


@pytest.mark.parametrize("run", runs_of("h100-smoke"), ids=name_of)
def test_the_slow_arm_is_red_and_the_equal_one_is_not(run: Path) -> None:
    report = read(run / "report.json")
    slow, again = itl_check(run, "slow"), itl_check(run, "again")
    assert recorded(run) == planned(run)
    assert (slow["verdict"], again["verdict"]) == ("regressed", "pass")
    assert (report["verdict"], report["exit_code"]) == ("regressed", 1)
    for arm, check in (("slow", slow), ("again", again)):
        ratio, low, high = bounds(run, arm)
        assert check["estimate"] == pytest.approx(ratio, rel=1e-6)
        assert check["interval"] == pytest.approx([low, high], rel=1e-5)
    assert slow["interval"][0] > 1


@pytest.mark.parametrize("run", runs_of("h100-smoke"), ids=name_of)
def test_the_noise_floor_is_what_equal_launches_show(run: Path) -> None:
    floors = [one for one in read(run / "report.json")["noise"] if one["metric"] == _ITL]
    _, low, high = bounds(run, "again")
    [floor] = floors
    assert (floor["arm"], floor["launches"]) == ("again", len(launches(run, "again")))
    assert floor["floor"] == pytest.approx(max(1 / low, high) - 1, rel=1e-4)
    percent = f"{100 * floor['floor']:.2f} %"
    assert percent in GPU_PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("run", runs_of("h100-smoke"), ids=name_of)
def test_a_record_is_the_median_of_its_runs_that_count(run: Path) -> None:
    paths = sorted(run.glob("launches/*/cells/latency/record.json"))
    assert paths
    for path in paths:
        record = read(path)
        counted = record["runs"][1:]
        assert (len(counted), record["details"]["dropped_runs"]) == (3, 1)
        for name, value in record["metrics"].items():
            assert value == pytest.approx(median(one[name] for one in counted), rel=1e-12), name


@pytest.mark.parametrize("run", runs_of("h100-smoke"), ids=name_of)
def test_a_plan_can_be_made_from_what_the_launches_showed(run: Path) -> None:
    """`servegate power --variance-from` reads the spread of launches from a kept run."""
    folder = RunFolder(run)
    plan = folder.load_plan()
    basis = measured_basis(plan, list(folder.records(plan)), lambda _: [])
    # The arm "slow" is another one; of a difference of two launches of equal arms.
    equal = [*launches(run, "again").values(), *launches(run, "reference").values()]
    expected = sqrt(2) * stdev(map(log, equal))
    assert basis["latency"].spreads[_ITL] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("run", runs_of("h100-answers"), ids=name_of)
def test_equal_arms_answer_within_their_margins(run: Path) -> None:
    rows = {row["arm"]: row for row in read(run / "report.json")["rows"]}
    assert rows["again"]["verdict"] == "pass"
    right: dict[str, int] = {}
    for arm in ("reference", "again"):
        [answers] = run.glob(f"launches/*-{arm}-*/cells/gsm8k/answers.jsonl")
        lines = answers.read_text(encoding="utf-8").splitlines()
        assert len(lines) == 284
        right[arm] = sum('"mark":"correct"' in line for line in lines)
    [check] = [
        one for one in rows["again"]["checks"]
        if (one["job"], one["metric"], one["against"]) == ("gsm8k", "score", "reference")
    ]  # fmt: skip
    assert check["estimate"] == pytest.approx((right["again"] - right["reference"]) / 284)


def test_the_page_has_every_figure_and_each_is_that_of_the_records() -> None:
    text = GPU_PAGE.read_text(encoding="utf-8")
    assert sorted(marked(text)) == sorted(FIGURES)
    assert filled(text, RECORDS) == text, (
        "docs/gpu.md is not what the records say; "
        "python -m scripts.gpu_smoke.figures docs/h100 --write docs/gpu.md"
    )


def test_every_block_of_figures_names_machine_and_day() -> None:
    for name, figures in FIGURES.items():
        text = "\n".join(figures(RECORDS))
        if name != "starts":  # of all runs, which the other blocks name
            assert "H100" in text, name
            assert "driver 5" in text, name
            assert "2026-" in text, name


@pytest.mark.parametrize(("metric", "margin", "needed"), [
    ("median_itl_ms", 0.03, 2), ("steady_itl_ms", 0.03, 2), ("output_throughput", 0.03, 15),
    ("steady_throughput", 0.03, 13), ("median_ttft_ms", 0.05, 51), ("p95_itl_ms", 0.03, 72),
    ("p99_itl_ms", 0.05, None), ("median_tpot_ms", 0.05, 3),
])  # fmt: skip
def test_launches_of_equal_arms_tell_what_each_gate_needs(
    metric: str, margin: float, needed: int | None
) -> None:
    """The table of docs/latency.md."""
    [run] = [run for run in RUNS if run.parent.name == "h100-smoke"]
    folder = RunFolder(run)
    plan = folder.load_plan()
    basis = measured_basis(plan, folder.records(plan), lambda _record: ())
    experiment = Experiment.model_validate(
        {
            "name": "next-night",
            "model": {"path": "org/model"},
            "layouts": [{"tp": 1, "attention_dp": [1]}],
            "arms": {"old": {}, "new": {"env": {"SOME_SWITCH": "1"}}},
            "reference": "old",
            "launches": 3,
            "jobs": {
                "latency": {
                    "kind": "latency", "input_len": 256, "output_len": 128, "concurrency": 16,
                }
            },
            "gates": {"latency": {metric: {"margin": margin}}},
        }
    )  # fmt: skip
    [told] = speed_powers(experiment, basis)
    assert told.launches_needed == needed
    assert "equal arms (again, reference)" in told.source
