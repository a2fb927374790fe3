"""What FlashInfer's MixedComm would be given, with stand-ins for it, for CUDA and for the peers.

The kernels themselves need a GPU and are not run by this project's tests.
"""

import sys
import types
from dataclasses import replace
from enum import Enum, auto
from typing import Any

import pytest

from servegate_sglang.mixed_comm import build, requirements
from servegate_sglang.mixed_comm.policy import Layout, Operation
from servegate_sglang.mixed_comm.settings import HandlerChoice
from tests.launchers.plugins.mixed_comm.layout import plain_layout

pytestmark = pytest.mark.engine

LAYOUT = plain_layout(4, 2, rank=5)


class FakeOp(Enum):
    """The names of flashinfer 0.7.2's MixedCommOp."""

    ALLREDUCE = auto()
    ALLGATHER = auto()
    REDUCESCATTER = auto()
    ALLREDUCE_ALLGATHER = auto()
    REDUCESCATTER_ALLREDUCE = auto()


class FakeMode(Enum):
    FUSED_OPT_WAITS_MC = auto()
    NCCL_TP_DP = auto()


class FakeNative:
    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments
        self.autotune_base_bytes = 8192
        self.autotune_map = {
            FakeOp.ALLREDUCE_ALLGATHER: [FakeMode.FUSED_OPT_WAITS_MC, FakeMode.NCCL_TP_DP]
        }


@pytest.fixture
def flashinfer(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A CUDA rank with a stand-in for flashinfer; what its kernels are called with is kept."""
    import torch

    module = types.ModuleType("flashinfer.comm.mixed_comm")
    ran: list[Any] = []
    vars(module).update(
        MixedCommHandler=FakeNative,
        MixedCommOp=FakeOp,
        ran=ran,
        run_mixed_comm=lambda *arguments: ran.append(arguments),
    )
    for name in ("flashinfer", "flashinfer.comm"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    monkeypatch.setattr(requirements, "no_multicast", lambda _device: "")
    monkeypatch.setattr(build, "not_built", lambda: "")
    for name in (
        "TORCH_SYMM_MEM_DISABLE_MULTICAST",
        "NVSHMEM_DISABLE_NVLS",
        "SERVEGATE_FORBID_MULTICAST",
    ):
        monkeypatch.delenv(name, raising=False)
    return module


def group(layout: Layout = LAYOUT, device: str = "cuda:5") -> Any:
    import torch

    from servegate_sglang.mixed_comm.handlers import Group

    return Group(
        layout=layout,
        dtype=torch.bfloat16,
        device=torch.device(device),
        device_group="devices",
        cpu_group="cpus",
    )


def peers_say(monkeypatch: pytest.MonkeyPatch, peer: list[str]) -> None:
    """Stand in for the exchange of reasons: this rank's own, and `peer` from rank 1."""
    import torch.distributed as dist

    def exchange(into: list[list[str]], mine: list[str], group: object) -> None:
        assert group == "cpus"
        into[5] = mine
        into[1] = peer

    monkeypatch.setattr(dist, "all_gather_object", exchange)


def test_arguments_of_flashinfers_handler(
    flashinfer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from servegate_sglang.mixed_comm.handlers import build_handler

    peers_say(monkeypatch, [])
    handler = build_handler(HandlerChoice.AUTO, group())
    assert handler.name == "flashinfer"
    x, out = torch.zeros(4, 64), torch.zeros(8, 64)
    handler.run(Operation.ALLREDUCE_ALLGATHER, x, out)
    operation, native, given, into = flashinfer.ran[0]
    assert operation is FakeOp.ALLREDUCE_ALLGATHER
    assert given is x
    assert into is out
    assert native.arguments == {
        "world_rank": 5,
        "world_size": 8,
        "local_rank": 5,
        "local_size": 8,
        "inter_rank": 0,
        "inter_size": 1,
        "local_tp_size": 4,
        "local_dp_size": 2,
        "inter_tp_size": 1,
        "inter_dp_size": 1,
        "dtype": torch.bfloat16,
        "device": torch.device("cuda", 5),
        "should_init_nvshmem": True,
    }
    modes = {"8192": "FUSED_OPT_WAITS_MC", "16384": "NCCL_TP_DP"}
    assert handler.details() == {"autotune_map": {"ALLREDUCE_ALLGATHER": modes}}
    assert handler.kernels == "flashinfer::mixed_comm"


@pytest.mark.parametrize("status", [0, 3])
def test_several_nodes_start_nvshmem_over_the_group_that_carries_cpu_tensors(
    status: int, flashinfer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed as dist

    from servegate_sglang.mixed_comm.handlers import build_handler
    from servegate_sglang.mixed_comm.handlers.flashinfer import FlashInferUnavailableError

    started: list[Any] = []

    def init(_id: object, rank: int, world: int) -> int:
        started.append((rank, world))
        return status

    kernels = types.SimpleNamespace(
        nvshmem_unique_id_size=lambda: 128,
        nvshmem_get_unique_id=lambda _id: started.append("id made"),
        nvshmem_init=init,
    )
    vars(flashinfer)["get_mixed_comm_module"] = lambda: kernels
    monkeypatch.setattr(
        dist, "broadcast", lambda _id, src, group: started.append(("broadcast", src, group))
    )
    peers_say(monkeypatch, [])
    spread = group(replace(LAYOUT, nodes=2))
    if status != 0:
        with pytest.raises(FlashInferUnavailableError, match="nvshmem_init gave 3 on rank 5"):
            build_handler(HandlerChoice.FLASHINFER, spread)
        return
    handler: Any = build_handler(HandlerChoice.FLASHINFER, spread)
    assert started == [("broadcast", 0, "cpus"), (5, 8)]
    wanted = {
        "local_rank": 1, "local_size": 4, "inter_rank": 1, "inter_size": 2, "local_tp_size": 4,
        "local_dp_size": 1, "inter_tp_size": 1, "inter_dp_size": 2, "should_init_nvshmem": False,
    }  # fmt: skip
    assert {key: handler._native.arguments[key] for key in wanted} == wanted


def test_the_real_handler_takes_these_arguments() -> None:
    import ast
    from importlib import metadata
    from pathlib import Path

    path = metadata.distribution("flashinfer-python").locate_file("flashinfer/comm/mixed_comm.py")
    tree = ast.parse(Path(str(path)).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    constructor = next(
        node
        for node in classes["MixedCommHandler"].body
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    names = [argument.arg for argument in constructor.args.args]
    assert "should_init_nvshmem" in names
    assert names[1:13] == [
        "world_rank",
        "world_size",
        "local_rank",
        "local_size",
        "inter_rank",
        "inter_size",
        "local_tp_size",
        "local_dp_size",
        "inter_tp_size",
        "inter_dp_size",
        "dtype",
        "device",
    ]
    run = [argument.arg for argument in functions["run_mixed_comm"].args.args]
    assert run == ["op", "handler", "x_in", "x_out", "mode"]
    members = {
        target.id
        for node in classes["MixedCommOp"].body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert set(Operation) <= members


def test_a_misaligned_pointer_is_an_error(
    flashinfer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from servegate_sglang.mixed_comm.handlers import build_handler

    peers_say(monkeypatch, [])
    handler = build_handler(HandlerChoice.FLASHINFER, group())
    x, out = torch.zeros(65, dtype=torch.bfloat16)[1:], torch.zeros(128, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="ALLGATHER input is not 16-byte aligned"):
        handler.run(Operation.ALLGATHER, x, out)
    assert flashinfer.ran == []


def test_one_rank_that_cannot_stops_all(
    flashinfer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servegate_sglang.mixed_comm.handlers import build_handler

    peers_say(monkeypatch, ["no multicast"])
    with pytest.raises(RuntimeError, match="cannot run here: rank 1: no multicast"):
        build_handler(HandlerChoice.AUTO, group())


def test_asking_for_flashinfer_without_cuda_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from servegate_sglang.mixed_comm.handlers import build_handler

    peers_say(monkeypatch, [])
    with pytest.raises(RuntimeError, match=r"rank 5: device cpu \(cuda is needed\)"):
        build_handler(HandlerChoice.FLASHINFER, group(device="cpu"))


@pytest.mark.parametrize(
    ("layout", "capability", "environment", "said"),
    [
        (LAYOUT, (9, 0), {}, []),
        (LAYOUT, (10, 0), {"NCCL_NVLS_ENABLE": "0"}, []),
        (LAYOUT, (10, 3), {}, ["compute capability (10, 3) (9.0 or 10.0 is needed)"]),
        (replace(LAYOUT, nodes=2), (9, 0), {}, []),
        (replace(LAYOUT, nodes=8), (9, 0), {}, ["1 ranks a node (2, 4 or 8 are supported)"]),
        (replace(LAYOUT, world_size=3), (9, 0), {}, ["3 ranks a node (2, 4 or 8 are supported)"]),
        (
            LAYOUT,
            (9, 0),
            {"SERVEGATE_FORBID_MULTICAST": "1"},
            ["SERVEGATE_FORBID_MULTICAST=1 forbids multicast"],
        ),
        (
            LAYOUT,
            (9, 0),
            {"NVSHMEM_DISABLE_NVLS": "1"},
            ["NVSHMEM_DISABLE_NVLS=1 forbids multicast"],
        ),
        (
            LAYOUT,
            (9, 0),
            {"TORCH_SYMM_MEM_DISABLE_MULTICAST": "1"},
            ["TORCH_SYMM_MEM_DISABLE_MULTICAST=1 forbids multicast"],
        ),
    ],
)
def test_requirements(
    layout: Layout,
    capability: tuple[int, int],
    environment: dict[str, str],
    said: list[str],
    flashinfer: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from servegate_sglang.mixed_comm.handlers.flashinfer import unmet_requirements

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert unmet_requirements(group(layout), environment) == said


NOT_BUILT = "not built: x.so does not exist"


def test_a_device_without_multicast_and_kernels_that_are_not_built(
    flashinfer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servegate_sglang.mixed_comm.handlers.flashinfer import unmet_requirements

    asked: list[int] = []

    def no_multicast(device: int) -> str:
        asked.append(device)
        return "no"

    monkeypatch.setattr(requirements, "no_multicast", no_multicast)
    monkeypatch.setattr(build, "not_built", lambda: NOT_BUILT)
    assert unmet_requirements(group(), {}) == [
        "no NVLink multicast: no",
        f"its kernels are {NOT_BUILT}; run `python -m servegate_sglang.mixed_comm.build` first",
    ]
    assert unmet_requirements(group(), {}, may_compile=True) == ["no NVLink multicast: no"]
    assert asked == [5, 5]


def test_a_flashinfer_without_mixed_comm_is_a_requirement_unmet(
    flashinfer: types.ModuleType,
) -> None:
    from servegate_sglang.mixed_comm.handlers.flashinfer import unmet_requirements

    del flashinfer.run_mixed_comm
    assert unmet_requirements(group(), {}) == ["flashinfer.comm.mixed_comm has no run_mixed_comm"]
