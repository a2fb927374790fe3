"""What MixedComm needs of a host, and how ranks are numbered over nodes."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from servegate_sglang.mixed_comm.build import kernels, not_built
from servegate_sglang.mixed_comm.nodes import place
from servegate_sglang.mixed_comm.requirements import multicast_forbidden, no_multicast


class Driver:
    """A CUDA driver that fails in one call, or tells an attribute."""

    def __init__(self, attribute: int, failing: str = "") -> None:
        self.attribute = attribute
        self.failing = failing
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.called.append(name)
            if name == "cuDeviceGetAttribute":
                assert arguments[1] == 132
                ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_int))[0] = self.attribute
            return 100 if name == self.failing else 0

        return call


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(driver: Driver) -> Driver:
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver)
        return driver

    return install


def test_multicast_is_asked_of_the_driver_and_nothing_is_created(driver: Any) -> None:
    there = driver(Driver(1))
    assert no_multicast(3) == ""
    assert there.called == ["cuInit", "cuDeviceGet", "cuDeviceGetAttribute"]
    driver(Driver(0))
    assert no_multicast() == "the driver says that this device has no multicast"


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet", "cuDeviceGetAttribute"])
def test_a_query_that_fails_is_a_no(call: str, driver: Any) -> None:
    driver(Driver(1, failing=call))
    assert no_multicast() == f"{call} failed with CUDA error 100"


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert no_multicast().startswith("no CUDA driver: libcuda.so.1")


def test_how_a_host_forbids_it() -> None:
    forbidding = {"SERVEGATE_FORBID_MULTICAST": "1", "NVSHMEM_DISABLE_NVLS": "1"}
    assert multicast_forbidden({**forbidding, "NCCL_NVLS_ENABLE": "0"}) == [
        "SERVEGATE_FORBID_MULTICAST=1", "NVSHMEM_DISABLE_NVLS=1",
    ]  # fmt: skip
    assert multicast_forbidden({"SERVEGATE_FORBID_MULTICAST": "0"}) == []


SPLITS = [
    (tp, nodes * local // tp, nodes)
    for nodes in (1, 2, 4)
    for local in (2, 4, 8)
    for tp in (1, 2, 4, 8, 16, 32)
    if nodes * local % tp == 0
]


@pytest.mark.parametrize(("tp", "dp", "nodes"), SPLITS)
def test_flashinfer_numbers_ranks_as_sglang_does(tp: int, dp: int, nodes: int) -> None:
    for rank in range(tp * dp):
        at = place(rank, attention_tp=tp, attention_dp=dp, nodes=nodes)
        assert (at.attention_tp_rank, at.attention_dp_rank) == (rank % tp, rank // tp)
        assert at.inter_rank * at.local_size + at.local_rank == rank
        assert at.local_tp * at.local_dp == at.local_size
        assert at.inter_tp * at.inter_dp == at.inter_size == nodes
        assert (at.local_tp * at.inter_tp, at.local_dp * at.inter_dp) == (tp, dp)


@pytest.mark.parametrize(("tp", "dp", "nodes"), [(4, 3, 2), (4, 2, 3)])
def test_groups_that_do_not_fill_nodes_are_refused(tp: int, dp: int, nodes: int) -> None:
    with pytest.raises(ValueError, match="does not fill"):
        place(0, attention_tp=tp, attention_dp=dp, nodes=nodes)


@pytest.mark.engine
@pytest.mark.parametrize("options", [["--check"], []])
def test_the_build_says_what_is_missing_on_a_machine_without_a_gpu(options: list[str]) -> None:
    """No architecture to build for, or no nvcc: a reason, never a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "servegate_sglang.mixed_comm.build", *options],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, found["built"]) == (1, False)
    assert "No supported CUDA architectures found" in found["reason"]


def installed(monkeypatch: pytest.MonkeyPatch, seen: list[str], *lacking: str) -> None:
    """SGLang and FlashInfer as the build asks them, without what is lacking."""
    made = {
        name: ModuleType(name)
        for name in (
            "sglang", "sglang.srt", "sglang.srt.environ", "flashinfer", "flashinfer.jit",
            "flashinfer.jit.comm",
        )
    }  # fmt: skip
    made["sglang.srt"].__dict__["environ"] = made["sglang.srt.environ"]
    for module, function in (
        ("sglang.srt.environ", "redirect_third_party_caches"),
        ("flashinfer.jit.comm", "gen_mixed_comm_module"),
    ):
        if function not in lacking:
            made[module].__dict__[function] = lambda function=function: seen.append(function)
    for name, module_ in made.items():
        monkeypatch.setitem(sys.modules, name, module_)


def test_the_build_goes_where_sglangs_servers_look(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    installed(monkeypatch, seen)
    kernels()
    assert seen == ["redirect_third_party_caches", "gen_mixed_comm_module"]


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("redirect_third_party_caches", "this SGLang does not say where its servers keep"),
        ("gen_mixed_comm_module", "the FlashInfer installed here has no MixedComm kernels"),
    ],
)
def test_other_versions_have_a_reason_and_no_build_elsewhere(
    lacking: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    installed(monkeypatch, seen, lacking)
    assert said in not_built()
    assert "gen_mixed_comm_module" not in seen
