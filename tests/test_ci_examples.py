"""The example nightlies say nothing that servegate does not know."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pipeline.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / "docs" / "ci" / "github-nightly.yml"
SLURM = ROOT / "docs" / "ci" / "slurm-nightly.sh"


def workflow() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(GITHUB.read_text(encoding="utf-8"))
    return found


def steps() -> list[dict[str, Any]]:
    [job] = workflow()["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def shells() -> dict[str, str]:
    made = {f"github: {step['name']}": step["run"] for step in steps() if "run" in step}
    return {**made, "slurm": SLURM.read_text(encoding="utf-8")}


def calls(text: str) -> Iterator[list[str]]:
    """Words behind each `servegate`, as far as the command goes."""
    for line in text.splitlines():
        code = line.split(" #")[0].strip()
        if code.startswith("#"):
            continue
        for part in re.findall(r"(?:^|\s)servegate ([a-z].*)", code):
            end = re.split(r"\s(?:\|\||&&|&$)", part)[0]
            # What stands in $(...) is one word.
            yield shlex.split(re.sub(r"\$\([^)]*\)", "RUN", end))


def commands() -> dict[str, Any]:
    group = typer.main.get_command(app)
    found: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    return found


def test_both_call_servegate() -> None:
    names = {source: [words[0] for words in calls(text)] for source, text in shells().items()}
    assert names["slurm"] == [
        "selftest", "doctor", "run", "selftest", "gate", "gate", "accept",
    ]  # fmt: skip
    assert [name for source, found in names.items() if source != "slurm" for name in found] == [
        "selftest", "doctor", "run", "selftest", "gate", "gate", "accept",
    ]  # fmt: skip


@pytest.mark.parametrize("source", shells())
def test_commands_and_options_exist(source: str) -> None:
    known = commands()
    for name, *words in calls(shells()[source]):
        assert name in known, f"{source}: servegate has no command {name}"
        options = {option for param in known[name].params for option in param.opts}
        used = {word for word in words if word.startswith("--")}
        assert used <= options, f"{source}: servegate {name} has no {sorted(used - options)}"


@pytest.mark.parametrize("source", shells())
def test_every_step_is_bash(source: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=shells()[source], text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_experiment_is_there() -> None:
    [job] = workflow()["jobs"].values()
    assert (ROOT / job["env"]["EXPERIMENT"]).is_file()
    [name] = re.findall(r"EXPERIMENT:-(\S+)\}", SLURM.read_text(encoding="utf-8"))
    assert (ROOT / name).is_file()


def test_the_workflow_has_what_github_needs() -> None:
    made = workflow()
    # YAML 1.1 reads the bare key `on` as true.
    assert {"schedule", "workflow_dispatch"} <= made[True].keys()  # type: ignore[index]
    assert "concurrency" in made
    for step in steps():
        assert ("run" in step) != ("uses" in step), step
    kept = next(step for step in steps() if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "${{ always() }}"
    assert {"runs/", "junit.xml"} <= set(kept["with"]["path"].split())


def test_a_night_is_accepted_only_when_all_before_it_passed() -> None:
    accept = next(step for step in steps() if step.get("name") == "Accept")
    assert accept["if"] == "${{ success() }}"
