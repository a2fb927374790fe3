"""Records that are kept: clean, small, and saying the same; else nothing is written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scripts.gpu_smoke.clean import Cleaner, leaks
from scripts.gpu_smoke.keep_records import keep
from scripts.gpu_smoke.keep_run import KeepError
from scripts.gpu_smoke.kept_text import texts
from tests.scripts.records import read, runs_of

CARD = "GPU-1b2c3d4e-0000-4fff-8aaa-0123456789ab"
# What stands for each name once it is clean, in the order in which it is put back.
NAMES = {
    "/gpu/": "/tmp/servegate-gpu/",
    "/servegate/": "/work/a-copy/",
    "/python/": "/opt/some/.venv/",
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


def test_a_damaged_trace_is_refused(results: Path, tmp_path: Path) -> None:
    [trace] = run_in(results).rglob("*.trace.json.gz")
    trace.write_bytes(b'{"traceEvents": []}')
    with pytest.raises(KeepError, match=r"TP-0\.trace\.json\.gz: holds no kernel of a GPU"):
        keep(results, tmp_path / "kept")


def test_cards_are_numbered_as_they_come_and_stay_the_same() -> None:
    cleaner = Cleaner(hosts=["node17", "localhost"])
    other = CARD.replace("1b2c", "9b2c")
    found = cleaner.text(f"{other} {CARD} {other} on node17, not on node171 or localhost")
    numbers = [f"GPU-00000000-0000-0000-0000-{n:012d}" for n in (0, 1, 0)]
    assert found == f"{' '.join(numbers)} on host, not on node171 or localhost"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Linux-6.8.0-7-example-x86_64-with-glibc2.39", "Linux-6.8.0-x86_64-with-glibc2.39"),
        ("one\n6.8.0-7-example\n16", "one\n6.8.0\n16"),
        ("Linux-5.15.0-x86_64-with-glibc2.35", "Linux-5.15.0-x86_64-with-glibc2.35"),
        ("0.5.16-dev of a package", "0.5.16-dev of a package"),
        ('"/opt/example/.venv/bin/python3"', '"/python/bin/python3"'),
        ("/work/a-copy/pipeline/x.py", "/servegate/pipeline/x.py"),
    ],
)
def test_paths_and_kernels_lose_what_is_the_hosts(text: str, clean: str) -> None:
    assert Cleaner().text(text) == clean


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/work/x", "a path of the host"),
        ("at /root/.cache/", "a path of the host"),
        (CARD, "the id of a card"),
        ("1b2c3d4e-0000-4fff-8aaa-0123456789ab", "a UUID"),
        ("tcp://10.0.12.7:5000", "an address"),
        ("192.168.1.20", "an address"),
        ("fa:16:3e:00:aa:01", "a hardware address"),
        ("00000000:1B:00.0", "a PCI address"),
        ("gpu-a3.internal", "a name of a network"),
        ("who@example.com", "somebody's address"),
        ('"HOSTNAME": "gpu-a3"', "a variable that names somebody"),
        ("hf_abcdefghijklmnopqrst", "a secret"),
        ("6.8.0-7-example", "a kernel of the host"),
    ],
)
def test_what_would_name_a_machine_is_found(text: str, what: str) -> None:
    assert [(leak.line, leak.what) for leak in leaks(f"fine\n{text}\n")] == [(2, what)]


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:30000 and 0.0.0.0", "580.159.04, CUDA 13.0", "/gpu/models/x",
        "GPU-00000000-0000-0000-0000-000000000001", "/usr/local/cuda/bin/nvcc", "2.28.3-1",
        "at::native::elementwise_kernel<128, 4>(int)", "TORCH_HOME_X", "10.5 ms, 10.5.1",
    ],
)  # fmt: skip
def test_what_names_nobody_is_left(text: str) -> None:
    assert list(leaks(text)) == []


def test_strings_in_sqlite_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
        base.execute("INSERT INTO StringIds VALUES (1, '/work/x/kernel.cu')")
        base.commit()
    assert [leak.what for text in texts(path) for leak in leaks(text)] == ["a path of the host"]


def test_a_page_names_machine_day_and_verdict_of_each_run(results: Path, tmp_path: Path) -> None:
    keep(results, tmp_path / "kept")
    text = (tmp_path / "kept" / "README.md").read_text(encoding="utf-8")
    report = read(run_in(tmp_path / "kept") / "report.json")
    [row] = [line for line in text.splitlines() if line.startswith("| [h100-traces]")]
    day = json.loads((run_in(results) / "provenance.json").read_text())["run"]["started_at"][:10]
    for told in ("1 x NVIDIA H100 80GB HBM3, driver ", day, f"| {report['verdict']} |", "1 of 1"):
        assert told in row
