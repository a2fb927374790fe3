"""Records that are kept: clean, small, and saying the same; else nothing is written."""

from __future__ import annotations

import gzip
import json
import shutil
from math import inf, nan
from pathlib import Path

import pytest

from scripts.gpu_smoke.keep_records import keep
from scripts.gpu_smoke.keep_run import KeepError, differing
from tests.scripts.records import read, runs_of

CARD = "GPU-1b2c3d4e-0000-4fff-8aaa-0123456789ab"
# What stands for each name once it is clean, in the order in which it is put back.
NAMES = {
    "/servegate/": "/srv/a-copy/",
    "/gpu/": "/tmp/servegate-gpu/",
    "/python/": "/opt/example/.venv/",
    "GPU-00000000-0000-0000-0000-000000000000": CARD,
    '"host": "host"': '"host": "node17"',
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What a host sent back: a kept run, with a machine's names put into it again."""
    run = runs_of("h100-traces")[0]
    made = tmp_path / "results"
    target = made / "runs" / run.parent.name / run.name
    shutil.copytree(run, target)
    for path in target.rglob("*"):
        if path.suffix in {".json", ".yaml", ".jsonl", ".log"}:
            text = path.read_text(encoding="utf-8")
            for clean, dirty in NAMES.items():
                text = text.replace(clean, dirty)
            path.write_text(text, encoding="utf-8")
    return made


def run_in(folder: Path) -> Path:
    [plan] = folder.glob("runs/*/*/plan.json")
    return plan.parent


def test_names_go_and_all_else_stays_as_it_is(results: Path, tmp_path: Path) -> None:
    dirty = run_in(results)
    assert CARD in (dirty / "provenance.json").read_text(encoding="utf-8")
    keep(results, tmp_path / "kept")
    kept, committed = run_in(tmp_path / "kept"), runs_of("h100-traces")[0]
    names = sorted(path.relative_to(kept) for path in kept.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(committed) for p in committed.rglob("*") if p.is_file())
    for name in names:
        assert (kept / name).read_bytes() == (committed / name).read_bytes(), name


def test_a_name_that_nobody_knows_is_refused_with_its_file_and_line(
    results: Path, tmp_path: Path
) -> None:
    events = run_in(results) / "events.jsonl"
    lines = events.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace("{", '{"note": "/home/somebody/x", ', 1)
    events.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(KeepError, match=r"events\.jsonl:3: a path of the host: /home/somebody"):
        keep(results, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    keep(results, tmp_path / "kept", replaced=[("/home/somebody", "/elsewhere")])
    assert "/elsewhere/x" in (run_in(tmp_path / "kept") / "events.jsonl").read_text()


def test_what_was_kept_before_stays_and_what_is_too_large_is_not_written(
    results: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    (kept / "runs" / "older").mkdir(parents=True)
    (kept / "runs" / "older" / "note.txt").write_text("as it was")
    with pytest.raises(KeepError, match=r"more than 1000; keep fewer runs .*The largest: "):
        keep(results, kept, limit=1000)
    assert [path.name for path in kept.rglob("*") if path.is_file()] == ["note.txt"]
    keep(results, kept)
    assert (kept / "runs" / "older" / "note.txt").read_text() == "as it was"
    assert "h100-traces" in (kept / "README.md").read_text(encoding="utf-8")


def test_a_run_that_is_not_there_is_named(results: Path, tmp_path: Path) -> None:
    with pytest.raises(KeepError, match="h100-smoke: holds no run"):
        keep(results, tmp_path / "kept", named=["h100-smoke"])


def test_results_without_runs_and_parts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results" / "runs").mkdir(parents=True)
    with pytest.raises(KeepError, match=r"nothing to keep; looked for runs/.*, host\.txt, "):
        keep(tmp_path / "results", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_parts_alone_are_kept_and_those_that_are_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "host.txt").write_text("6.8.0-7-example\n")
    absent = keep(tmp_path / "results", tmp_path / "kept")
    assert (tmp_path / "kept" / "host.txt").read_text() == "6.8.0\n"
    assert absent == [
        "doctor.txt", "doctor.json", "hang/hang.json", "probes/probes.json",
        "checkref/agreement.json",
    ]  # fmt: skip
    with pytest.raises(KeepError, match="nothing to keep"):
        keep(tmp_path / "results", tmp_path / "kept", parts=False)


def test_a_failure_at_the_last_moment_leaves_the_old_target_whole(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "records" / "kept"
    kept.mkdir(parents=True)
    (kept / "note.txt").write_text("as it was")
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="no space"):
        keep(results, kept)
    assert [path.relative_to(kept.parent) for path in kept.parent.rglob("*")] == [
        Path("kept"), Path("kept/note.txt")
    ]  # fmt: skip


def test_a_name_in_a_trace_is_no_case_for_replace(results: Path, tmp_path: Path) -> None:
    [trace] = run_in(results).rglob("*.trace.json.gz")
    document = json.loads(gzip.decompress(trace.read_bytes()))
    kernel = next(one for one in document["traceEvents"] if one.get("cat") == "kernel")
    kernel["name"] += " of /home/somebody"
    trace.write_bytes(gzip.compress(json.dumps(document).encode()))
    with pytest.raises(KeepError, match=r"no --replace reaches into a trace.*--run:") as refused:
        keep(results, tmp_path / "kept")
    assert "give --replace" not in str(refused.value)
    assert "TP-0.trace.json.gz:1: a path of the host: /home/somebody" in str(refused.value)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1.0, 1.0000001, True), (1.0, 1.00001, False), (0.0, 0.0, True), (1.0, nan, False),
        (nan, 1.0, False), (nan, nan, True), (inf, inf, True), (inf, 1.0, False),
        (inf, -inf, False),
    ],
)  # fmt: skip
def test_figures_are_equal_to_a_millionth_and_infinity_to_itself_alone(
    one: float, other: float, equal: bool
) -> None:
    found = list(differing({"a": [one]}, {"a": [other]}))
    assert found == ([] if equal else [f".a[0] is {other} and was {one}"])


def test_a_damaged_trace_is_refused(results: Path, tmp_path: Path) -> None:
    [trace] = run_in(results).rglob("*.trace.json.gz")
    trace.write_bytes(b'{"traceEvents": []}')
    with pytest.raises(KeepError, match=r"TP-0\.trace\.json\.gz: holds no kernel of a GPU"):
        keep(results, tmp_path / "kept")


def test_a_page_names_machine_day_and_verdict_of_each_run(results: Path, tmp_path: Path) -> None:
    keep(results, tmp_path / "kept")
    text = (tmp_path / "kept" / "README.md").read_text(encoding="utf-8")
    report = read(run_in(tmp_path / "kept") / "report.json")
    [row] = [line for line in text.splitlines() if line.startswith("| [h100-traces]")]
    day = json.loads((run_in(results) / "provenance.json").read_text())["run"]["started_at"][:10]
    for told in ("1 x NVIDIA H100 80GB HBM3, driver ", day, f"| {report['verdict']} |", "1 of 1"):
        assert told in row
