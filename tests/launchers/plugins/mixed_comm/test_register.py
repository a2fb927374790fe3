"""Activation: inert when off, and a reason instead of the baseline when something is amiss."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from servegate_sglang import mixed_comm
from servegate_sglang.mixed_comm import targets as targets_module
from servegate_sglang.mixed_comm.settings import HandlerChoice, SettingsError, read_settings
from servegate_sglang.mixed_comm.targets import (
    HookTargetError,
    Role,
    Target,
    UnsupportedVersionError,
    not_hooked,
    resolve,
    targets_for,
)

VERSIONS = [f"0.5.{patch}" for patch in range(16, 24)]


def exit_reason(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        mixed_comm.register()
    return str(stopped.value)


@pytest.mark.parametrize("value", [None, "", "0", "false", "False"])
def test_is_inert_and_imports_nothing_when_off(value: str | None) -> None:
    environment = {key: text for key, text in os.environ.items() if key != mixed_comm.SWITCH}
    environment |= {} if value is None else {mixed_comm.SWITCH: value}
    script = (
        "import sys; from servegate_sglang.mixed_comm import register; register();"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'sglang')"
        " or m.startswith('servegate_sglang.mixed_comm.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


def test_a_switch_that_is_not_understood_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = exit_reason({mixed_comm.SWITCH: "yes"}, monkeypatch)
    assert reason == "mixed-comm: SGLANG_USE_MIXED_COMM='yes' is not understood; use 1 or 0"


@pytest.mark.parametrize("version", ["0.5.15.post1", "0.5.24", "0.6.0", "1.0.0rc1"])
def test_an_unsupported_sglang_stops(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    reason = exit_reason({mixed_comm.SWITCH: "1"}, monkeypatch)
    assert f"SGLang {version} is not supported" in reason
    assert "0.5.16 to 0.5.23" in reason


def test_an_exception_in_activation_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> str:
        raise KeyError("broken")

    monkeypatch.setattr("importlib.metadata.version", broken)
    assert exit_reason({mixed_comm.SWITCH: "true"}, monkeypatch) == "mixed-comm: KeyError: 'broken'"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SERVEGATE_MIXED_COMM_HANDLER", "nccl", "use one of auto, flashinfer, reference"),
        ("SERVEGATE_WITNESS_DIR", "/no/such/folder", "is not a folder"),
        ("SERVEGATE_MIXED_COMM_BUILD", "yes", "use 1 or 0"),
    ],
)
def test_a_wrong_setting_stops(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = exit_reason({mixed_comm.SWITCH: "1", variable: value}, monkeypatch)
    assert variable in reason
    assert value in reason
    assert said in reason


def test_settings_default_to_auto_and_no_files(tmp_path: Path) -> None:
    assert read_settings({}).handler is HandlerChoice.AUTO
    assert read_settings({}).witness_dir is None
    assert read_settings({}).may_compile is False
    assert read_settings({"SERVEGATE_MIXED_COMM_BUILD": "1"}).may_compile is True
    assert read_settings({"SERVEGATE_WITNESS_DIR": ""}).witness_dir is None
    assert read_settings({"SERVEGATE_WITNESS_DIR": str(tmp_path)}).witness_dir == tmp_path
    with pytest.raises(SettingsError):
        read_settings({"SERVEGATE_MIXED_COMM_HANDLER": ""})


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_has_one_target_a_role(version: str) -> None:
    roles = [target.role for target in targets_for(version)]
    assert sorted(roles) == sorted(set(roles))
    assert {Role.START, Role.GATHER, Role.SCATTER} <= set(roles)


def test_targets_differ_where_sglang_differs() -> None:
    def start(version: str) -> str:
        return next(t.path for t in targets_for(version) if t.role is Role.START)

    assert start("0.5.20").endswith(".initialize_dp_attention")
    assert start("0.5.21.post1").endswith(".init_dp_gathered_buffer")
    assert [v for v in VERSIONS if Role.PADDING in {t.role for t in targets_for(v)}] == ["0.5.23"]


def test_a_version_that_is_no_version_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match="'main' is not understood"):
        targets_for("main")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("engine_in_a_test")

    def gather(big: object, small: object) -> None: ...

    def scatter(output: object) -> None: ...

    module.gather = gather  # type: ignore[attr-defined]
    module.scatter = scatter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def target(role: Role, name: str, *parameters: str) -> Target:
    return Target(role=role, path=f"engine_in_a_test.{name}", parameters=parameters)


def test_all_missing_targets_are_named_at_once(engine: types.ModuleType) -> None:
    asked = (
        target(Role.GATHER, "gather", "big", "small"),
        target(Role.SCATTER, "scatter", "output", "input"),
        target(Role.START, "renamed"),
        Target(role=Role.PADDING, path="no_such_engine.padding", parameters=()),
    )
    with pytest.raises(HookTargetError) as error:
        resolve(asked)
    assert "engine_in_a_test.scatter takes ('output',)" in str(error.value)
    assert "engine_in_a_test.renamed" in str(error.value)
    assert "no_such_engine" in str(error.value)
    assert "gather" not in str(error.value)


def test_a_hook_that_was_not_applied_is_noticed(engine: types.ModuleType) -> None:
    asked = (
        target(Role.GATHER, "gather", "big", "small"),
        target(Role.SCATTER, "scatter", "output"),
    )
    originals = resolve(asked)
    engine.gather = lambda big, small: None  # type: ignore[attr-defined]
    assert not_hooked(asked, originals) == ["engine_in_a_test.scatter"]


def test_every_target_is_within_the_supported_versions() -> None:
    for target_ in targets_module.TARGETS:
        assert targets_module.OLDEST <= target_.since <= target_.until <= targets_module.NEWEST
