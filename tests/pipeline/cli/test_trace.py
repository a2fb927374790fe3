"""`servegate trace` on anybody's traces: table, JSON, Parquet, picture, refusals."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from benchmarks.generated_traces import (
    ALL_GATHER,
    REDUCE_SCATTER,
    Answers,
    Collective,
    Compute,
    Kernel,
    Part,
    Schedule,
    write_kineto,
    write_nsys,
)
from pipeline.cli.app import app

PAIRS = ((0, 1), (2, 3))
LAYER: list[Part] = [
    Compute(9_000, 31_000),
    Collective(REDUCE_SCATTER, 3_001, PAIRS),
    Collective(ALL_GATHER, 5_003),
    Compute(20_000, 50_000),
    Collective(REDUCE_SCATTER, 5_009),
    Collective(ALL_GATHER, 3_011, PAIRS),
]
WITHOUT_MS = 3 * (3_001 + 5_003 + 5_009 + 3_011) / 1e6


def kernels(seed: int = 1) -> tuple[list[Kernel], Answers]:
    return Schedule(ranks=4, steps=6, parts=LAYER * 3, seed=seed).run()


def trace(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["nsys", "torch"])
def test_json(kind: str, tmp_path: Path) -> None:
    rows, answers = kernels()
    if kind == "nsys":
        paths = [write_nsys(tmp_path / "a.sqlite", [rows], 4)]
    else:
        paths = write_kineto(tmp_path, rows, 4, subgroups=[2])
    done = trace(*paths, "--layout", "tp=4,dp=2,ep=4", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    waited, alone = answers.cut()
    assert alone == pytest.approx(WITHOUT_MS, abs=1e-12)
    assert {key: found[key] for key in ("ranks", "steps", "skipped_steps")} == {
        "ranks": 4, "steps": 4, "skipped_steps": 2,
    }  # fmt: skip
    assert found["with_imbalance_ms"] == pytest.approx(waited, abs=1e-9)
    assert found["without_imbalance_ms"] == pytest.approx(alone, abs=1e-9)
    assert found["kernels_per_step"] == 12
    assert found["span_ms"] > found["with_imbalance_ms"]
    assert found["families"] == {
        "nccl": {
            "with_imbalance_ms": found["with_imbalance_ms"],
            "without_imbalance_ms": found["without_imbalance_ms"],
            "kernels_per_step": 12,
        }
    }


def test_a_refusal_exits_3_and_says_which_step_and_ranks(tmp_path: Path) -> None:
    rows, _ = kernels()
    lost = next(k for k in rows if k[:2] == (2, 3) and k.name == ALL_GATHER)
    rows.remove(lost)
    done = trace(write_nsys(tmp_path / "a.sqlite", [rows], 4), "--groups", "world")
    assert done.exit_code == 3
    assert "refused: step 3: rank 2 has 17 kernels" in done.stderr
    assert "and rank 0 has its usual 18" in done.stderr
    assert done.stdout == ""


def test_unknown_groups_refuse_one_figure_only(tmp_path: Path) -> None:
    rows, answers = kernels()
    path = write_nsys(tmp_path / "a.sqlite", [rows], 4)
    done = trace(path, "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert found["without_imbalance_ms"] is None
    assert found["with_imbalance_ms"] == pytest.approx(answers.cut()[0], abs=1e-9)
    assert "say which ranks belong together with --layout or --groups" in done.stderr
    assert "refused" in trace(path).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layout", "dp=2"], "--layout dp=2: write tp=8,dp=2,ep=4"),
        (["--layout", "tp=4,dp=3"], "attention DP 3 does not divide TP 4"),
        (["--layout", "tp=4,pp=2"], "write tp=8"),
        (["--groups", "0,1"], "each of the ranks 0 to 3 exactly once"),
        (["--groups", "world", "--timeline", "x.svg", "--step", "9"], "--step 9: is none of"),
    ],
)
def test_wrong_usage_exits_2(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = trace(write_nsys(tmp_path / "a.sqlite", [kernels()[0]], 4), *options)
    assert (done.exit_code, said in done.stderr) == (2, True)
    assert not (tmp_path / "x.svg").exists()


def test_a_file_that_is_not_there_exits_2(tmp_path: Path) -> None:
    assert trace(tmp_path / "nothing.sqlite").exit_code == 2


def test_folders_are_launches_and_their_median_counts(tmp_path: Path) -> None:
    waited = []
    for launch in range(3):
        rows, answers = kernels(seed=launch + 1)
        write_kineto(tmp_path / str(launch), rows, 4)
        waited.append(answers.cut()[0])
    folders = [tmp_path / str(launch) for launch in range(3)]
    found = json.loads(trace(*folders, "--layout", "tp=4,dp=2", "--json").stdout)
    assert found["with_imbalance_ms"] == pytest.approx(sorted(waited)[1], abs=1e-9)
    assert (found["steps"], found["skipped_steps"]) == (12, 6)
    (tmp_path / "empty").mkdir()
    assert "holds no *.trace.json" in trace(tmp_path / "empty").stderr


def test_launches_that_ran_something_else_have_no_median(tmp_path: Path) -> None:
    write_kineto(tmp_path / "a", kernels()[0], 4)
    other = [k._replace(name=k.name.replace("nccl", "ncclSymk", 1)) for k in kernels()[0]]
    write_kineto(tmp_path / "b", other, 4)
    done = trace(tmp_path / "a", tmp_path / "b", "--layout", "tp=4,dp=2")
    assert done.exit_code == 3
    assert "capture 1 ran" in done.stderr


def test_parquet_and_the_table(tmp_path: Path) -> None:
    path = write_nsys(tmp_path / "a.sqlite", [kernels()[0]], 4)
    out = tmp_path / "kernels.parquet"
    done = trace(path, "--layout", "tp=4,dp=2", "--parquet", out)
    assert done.exit_code == 0
    assert "4 ranks, 4 decode steps (2 left out: 2 first and last)" in done.stdout
    assert f"{WITHOUT_MS:.4f}" in done.stdout
    rows = pq.read_table(out)
    assert rows.num_rows == 4 * 4 * (18 + 1)
    assert rows.column_names[:3] == ["rank", "step", "order"]


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_the_picture_of_a_step(suffix: str, tmp_path: Path) -> None:
    path = write_nsys(tmp_path / "a.sqlite", [kernels()[0]], 4)
    out = tmp_path / f"step.{suffix}"
    assert trace(path, "--layout", "tp=4,dp=2", "--timeline", out, "--step", "2").exit_code == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") is (suffix == "html")
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    root = ET.fromstring(svg)
    names = "{http://www.w3.org/2000/svg}"
    bars = [bar for bar in root.iter(f"{names}rect") if bar.find(f"{names}title") is not None]
    assert len(bars) == 4 * 18
    assert "decode step 2 on 4 ranks, one clock" in text
    told = [title.text or "" for bar in bars for title in bar.iter(f"{names}title")]
    assert sum(text.startswith("ncclDevKernel_AllGather_RING_LL: ") for text in told) == 4 * 6
