"""How a command ends where nobody foresaw it: never with the exit code of a verdict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.runs import command, experiment, in_a_process, only_run, records

FAKE = Path(__file__).resolve().parents[3] / "experiments" / "fake.yaml"

BROKEN = """
import sys
import pipeline.cli.app
from pipeline.cli.entry import main

@pipeline.cli.app.app.command("break")
def fail() -> None:
    "Fail in some way."
    {fault}

sys.argv = ["servegate", "break"]
main()
"""


def ended(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise RecursionError('too deep')", "RecursionError: too deep"),
        ("raise EOFError('the archive is cut')", "EOFError: the archive is cut"),
        ("raise OSError('first line\\nsecond line')", "OSError: first line"),
        ("raise BrokenPipeError(32, 'a client has gone')", "BrokenPipeError: [Errno 32]"),
    ],
)
def test_an_internal_error_is_one_line_that_names_its_traceback(
    fault: str, said: str, tmp_path: Path
) -> None:
    done = ended(BROKEN.format(fault=fault), tmp_path)
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert line.startswith(f"internal error: {said}")
    kept = Path(line.rpartition("traceback: ")[2])
    text = kept.read_text(encoding="utf-8")
    assert "in fail" in text
    assert "['servegate', 'break']" in text


def test_a_library_that_is_not_there_is_no_regression(tmp_path: Path) -> None:
    script = "import sys; sys.modules['scipy'] = None\nfrom pipeline.cli.entry import main\nmain()"
    done = ended(script, tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("internal error: ModuleNotFoundError: ")


@pytest.mark.parametrize(
    ("fault", "code"),
    [("raise KeyboardInterrupt", 130), ("raise SystemExit(1)", 1), ("raise SystemExit('x')", 3)],
)
def test_other_endings_keep_their_codes(fault: str, code: int, tmp_path: Path) -> None:
    done = ended(BROKEN.format(fault=fault), tmp_path)
    assert done.returncode == code
    assert "internal error" not in done.stderr


def without_reader(words: list[str], cwd: Path) -> tuple[int, str]:
    """Exit code and stderr of a command whose stdout nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            words, cwd=cwd, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_is_no_error_and_no_verdict(tmp_path: Path) -> None:
    for words in (["plan", FAKE], ["--help"], ["plan", "--help"], ["schema"]):
        code, told = without_reader(command(*words), tmp_path)
        assert code == 3
        assert not re.search(r"Traceback|Errno|internal error", told), told


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command("plan", FAKE, "--json"), cwd=tmp_path, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "error: stdout: No space left on device"
    assert "Traceback" not in done.stderr


def test_a_run_goes_on_without_its_reader(tmp_path: Path) -> None:
    """What it shows is lost; what it measures is not, and no record blames a cell for it."""
    file = experiment(tmp_path)
    code, _ = without_reader(command("run", file, "--out", tmp_path / "runs"), tmp_path)
    assert code == 3
    found = records(only_run(tmp_path))
    assert {record["status"] for record in found.values()} == {"ok"}
    assert len(found) == 2


def test_a_command_that_is_read_ends_as_ever(tmp_path: Path) -> None:
    assert in_a_process("plan", FAKE, cwd=tmp_path).returncode == 0
    assert in_a_process("plan", "nowhere.yaml", cwd=tmp_path).returncode == 2
