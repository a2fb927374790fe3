"""SGLang's own parser is asked about every planned command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launchers.machine.flags import FlagCheckFailed, installed_version, parsed_flags
from tests.pipeline.plan.test_build import planned


@pytest.mark.engine
def test_sglang_takes_every_command_of_the_shipped_experiments() -> None:
    plans = [
        planned(f"{name}")
        for name in (
            "cpu-demo",
            "cpu-matrix",
            "qwen3.5-mixedcomm-accuracy",
            "qwen3.5-mixedcomm-default",
            "qwen3.5-mixedcomm-speed",
        )
    ]
    commands = [
        [word.replace("{port}", "1") for word in launch.argv[3:]]
        for plan in plans
        for launch in plan.launches
    ]
    wrong = [
        ["--model-path", "x", "--cuda-graph-bs", "1"],
        ["--model-path", "x", "--tpp-size", "2"],
        ["--model-path", "x", "--tp-size", "two"],
    ]
    assert installed_version(None) == "0.5.23"
    answers = parsed_flags(sys.executable, [*commands, *wrong])
    *right, shortened, unknown, no_number = [answer.refused for answer in answers]
    assert right == [""] * len(commands)
    assert shortened == "unrecognized arguments: --cuda-graph-bs 1"
    assert unknown == "unrecognized arguments: --tpp-size 2"
    assert "invalid int value: 'two'" in no_number


@pytest.mark.engine
def test_what_a_default_already_holds_parses_to_the_same_arguments() -> None:
    own = ["--model-path", "x", "--tp-size", "2", "--port", "1"]
    plain, default, ordered, elsewhere, other = parsed_flags(
        sys.executable,
        [
            own,
            [*own, "--stream-interval", "1"],
            ["--tp-size", "2", *own[:2]],
            [*own[:4], "--port", "2", "--host", "0.0.0.0"],
            [*own, "--stream-interval", "2"],
        ],
    )
    assert plain.arguments
    assert default == ordered == elsewhere == plain
    assert other != plain


def test_an_interpreter_without_sglang_is_said_to_be_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "No module named sglang" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    assert installed_version(str(python)) is None
    with pytest.raises(FlagCheckFailed, match="No module named sglang"):
        parsed_flags(str(python), [["--x"]])
    assert installed_version(str(tmp_path / "nothing")) is None
