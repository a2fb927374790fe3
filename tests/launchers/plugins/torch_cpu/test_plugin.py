"""The CPU platform: silent unless named, loud when SGLang has changed, and its settings."""

from __future__ import annotations

import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import servegate_sglang.torch_cpu
from servegate_sglang.torch_cpu import patches, sglang
from servegate_sglang.torch_cpu.settings import CPU_ARGS, PLATFORM, cpu_env

PROJECT = Path(__file__).resolve().parents[4] / "launchers" / "plugins" / "pyproject.toml"


class FakeSocket:
    """A socket that is empty until `poll` has waited for it."""

    def __init__(self) -> None:
        self.polled_ms: list[int] = []

    def poll(self, timeout_ms: int) -> None:
        self.polled_ms.append(timeout_ms)

    def receive(self, flags: int) -> str:
        return f"request, flags {flags}, polled {len(self.polled_ms)}"


def module(name: str, **content: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(content)
    return made


@pytest.mark.parametrize("platform", [None, "", "npu", PLATFORM.upper()])
def test_inert_unless_named(platform: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if platform is None:
        monkeypatch.delenv("SGLANG_PLATFORM", raising=False)
    else:
        monkeypatch.setenv("SGLANG_PLATFORM", platform)
    # A module without the target: applying the patch would end the process.
    monkeypatch.setitem(sys.modules, patches.CONTROLLER, module(patches.CONTROLLER))
    assert servegate_sglang.torch_cpu.activate() is None
    servegate_sglang.torch_cpu.register()


def test_named_it_gives_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_PLATFORM", PLATFORM)
    assert (
        servegate_sglang.torch_cpu.activate()
        == "servegate_sglang.torch_cpu.platform.TorchCpuPlatform"
    )


def test_entry_points_carry_the_name_that_sglang_compares() -> None:
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    assert declared["sglang.srt.platforms"] == {PLATFORM: "servegate_sglang.torch_cpu:activate"}
    assert declared["sglang.srt.plugins"][PLATFORM] == "servegate_sglang.torch_cpu:register"


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        ("json", "no_such_name", "json has no no_such_name"),
        ("no_such_module_at_all", "x", "no_such_module_at_all has no No module named"),
    ],
)
def test_a_missing_target_ends_the_process(where: str, name: str, said: str) -> None:
    for attempt in (lambda: sglang.find(where, name), lambda: sglang.replace(where, name, 1)):
        with pytest.raises(SystemExit, match=said) as caught:
            attempt()
        assert "sglang 0.5.23" in str(caught.value)


def test_register_ends_the_process_when_the_controller_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SGLANG_PLATFORM", PLATFORM)
    monkeypatch.setitem(sys.modules, patches.CONTROLLER, module(patches.CONTROLLER))
    with pytest.raises(SystemExit, match="data_parallel_controller has no sock_recv"):
        servegate_sglang.torch_cpu.register()


def test_the_controller_waits_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def sock_recv(socket: Any, flags: int = 0) -> Any:
        return socket.receive(flags)

    controller = module(patches.CONTROLLER, sock_recv=sock_recv)
    monkeypatch.setitem(sys.modules, patches.CONTROLLER, controller)
    monkeypatch.delitem(sys.modules, patches.IDLE_SLEEPER, raising=False)
    patches.apply_waiting()
    socket = FakeSocket()
    assert controller.sock_recv(socket, flags=1) == "request, flags 1, polled 1"
    assert socket.polled_ms == [patches.CONTROLLER_WAIT_MS]


def test_an_idle_rank_looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    class IdleSleeper:
        poller = FakeSocket()

        def maybe_sleep(self) -> None:
            time.sleep(1)

    monkeypatch.delitem(sys.modules, patches.CONTROLLER, raising=False)
    sleeper = module(patches.IDLE_SLEEPER, IdleSleeper=IdleSleeper)
    monkeypatch.setitem(sys.modules, patches.IDLE_SLEEPER, sleeper)
    patches.apply_waiting()
    IdleSleeper().maybe_sleep()
    assert IdleSleeper.poller.polled_ms == [patches.IDLE_WAIT_MS]
    del IdleSleeper.maybe_sleep
    with pytest.raises(SystemExit, match=r"IdleSleeper\.maybe_sleep"):
        patches.apply_waiting()


@pytest.mark.parametrize(
    ("tp", "cores", "threads", "bound"),
    [
        (1, 1, "1", "0"),
        (1, 2, "2", "0-1"),
        (2, 2, "1", "0|1"),
        (4, 2, "1", "0|0|1|1"),
        (4, 1, "1", "0|0|0|0"),
        (2, 8, "4", "0-3|4-7"),
        (3, 8, "2", "0-1|2-4|5-7"),
    ],
)
def test_environment_of_a_launch(tp: int, cores: int, threads: str, bound: str) -> None:
    env = cpu_env(tp, cores)
    assert env["OMP_NUM_THREADS"] == threads
    assert env["SGLANG_CPU_OMP_THREADS_BIND"] == bound
    assert env["SGLANG_PLATFORM"] == PLATFORM
    assert all(isinstance(value, str) for value in env.values())


@pytest.mark.parametrize(("tp", "cores"), [(0, 2), (2, 0), (-1, -1)])
def test_environment_refuses_nonsense(tp: int, cores: int) -> None:
    with pytest.raises(ValueError, match=f"tp {tp} and cores {cores}"):
        cpu_env(tp, cores)


def test_arguments_are_flags_without_dashes_and_cannot_be_changed() -> None:
    assert CPU_ARGS["device"] == "cpu"
    assert not any(name.startswith("-") for name in CPU_ARGS)
    with pytest.raises(TypeError):
        CPU_ARGS["device"] = "cuda"  # type: ignore[index]
