"""SGLang plugins that an arm names must be there, once, before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from launchers.machine.host import EnginePackages
from pipeline.preflight import checks as preflight
from pipeline.preflight.checks import Preflight
from tests.pipeline.preflight.test_support import plan

MIXED = {"group": "sglang.srt.plugins", "name": "servegate_mixed_comm", "value": "v"}


def missing(monkeypatch: pytest.MonkeyPatch, *plugins: dict[str, str], problem: str = "") -> Any:
    told = EnginePackages(problem=problem, plugins=list(plugins))
    monkeypatch.setattr(preflight, "probe", lambda _python, _environment: told)
    found = Preflight()
    preflight._check_plugins(plan(), found)
    return found.missing


def test_each_named_plugin_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(monkeypatch, {**MIXED, "distribution": "servegate-sglang"}) == []


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ([], "servegate_mixed_comm is not installed for /py"),
        (
            [{**MIXED, "distribution": "servegate-sglang"}, {**MIXED, "distribution": "stranger"}],
            "servegate_mixed_comm is there 2 times for /py",
        ),
        (
            [{**MIXED, "group": "sglang.srt.platforms", "distribution": "servegate-sglang"}],
            "servegate_mixed_comm is not installed",
        ),
    ],
)
def test_one_that_is_not_or_twice_is_refused(
    plugins: list[dict[str, str]], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [problem] = missing(monkeypatch, *plugins)
    assert problem.startswith("arms.mixed_comm: SGLang plugin")
    assert said in problem


def test_an_interpreter_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(monkeypatch, problem="no python") == ["server.plugins: no python"]
