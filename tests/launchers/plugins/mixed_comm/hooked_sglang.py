"""What test_mixed_comm_sglang tries in the real SGLang; mixed_comm_forks runs it.

Each scenario changes SGLang for its whole process, so it must run in one of its own.
"""

import sys
import tempfile
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from sglang.srt.layers import dp_attention
from sglang.srt.layers.dp_attention import DpPaddingMode
from sglang.srt.layers.layer_boundary import exit as boundary_exit
from sglang.srt.layers.layer_boundary import ops
from sglang.srt.layers.moe import utils as moe_utils
from sglang.srt.plugins import load_plugins
from sglang.srt.plugins.hook_registry import HookRegistry
from sglang.srt.runtime_context import get_parallel

from servegate_sglang.mixed_comm.policy import Layout, Operation, layout_reason
from servegate_sglang.mixed_comm.session import Session
from servegate_sglang.mixed_comm.targets import HookTargetError
from servegate_sglang.mixed_comm.witness import Witness
from servegate_sglang.reduce_scatter.counters import Tally
from servegate_sglang.reduce_scatter.plugin import guard
from tests.launchers.plugins.mixed_comm.layout import plain_layout

ROWS, WIDTH = 4, 16


class StubHandler:
    """Remembers what it was asked and what the input was, and fills the output with 7."""

    name = "stub"
    kernels = "stub"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def run(self, operation: Operation, x: torch.Tensor, out: torch.Tensor) -> None:
        self.calls.append({"operation": operation, "in": x.tolist(), "out": list(out.shape)})
        out.fill_(7)

    def details(self) -> dict[str, Any]:
        return {}


def parallel(tp: int, dp: int, rank: int) -> AbstractContextManager[Any]:
    """SGLang's own parallel state, as rank `rank` of tp * dp."""
    context: AbstractContextManager[Any] = get_parallel().override(
        tp_size=tp * dp,
        tp_rank=rank,
        attn_tp_size=tp,
        attn_tp_rank=rank % tp,
        attn_dp_size=dp,
        attn_dp_rank=rank // tp,
        attn_cp_size=1,
    )
    return context


def stub_session(own: Layout) -> tuple[Session, StubHandler]:
    handler = StubHandler()
    idle = layout_reason(own)
    session = Session(
        layout=own,
        idle=idle,
        handler=None if idle else handler,
        witness=Witness(None, {"rank": own.rank}),
    )
    return session, handler


def begin_with(session: Session) -> None:
    """Start the plugin through the hooked function, with `session` for the real one."""
    original = {"count": 0}
    hooks = HookRegistry._hooks["sglang.srt.layers.dp_attention.init_dp_gathered_buffer"]
    plugin = hooks[0][1].__self__
    plugin._session = None
    plugin._begin = lambda: session
    plugin.start(lambda _config: original.update(count=original["count"] + 1), None)
    plugin.start(lambda _config: original.update(count=original["count"] + 1), None)
    assert original["count"] == 2
    assert plugin._session is session


class NoCollectives:
    """A forward batch: the hooks ask how it was padded, and hand it on."""

    def __init__(self, mode: DpPaddingMode | None = DpPaddingMode.MAX_LEN) -> None:
        self.dp_padding_mode = mode


def gather(dp: int, *, is_partial: bool) -> None:
    big = torch.zeros(ROWS * dp, WIDTH, dtype=torch.bfloat16)
    small = torch.ones(ROWS, WIDTH, dtype=torch.bfloat16)
    dp_attention._dp_gather_via_all_gather(big, small, NoCollectives(), is_partial)


def operations() -> dict[str, Any]:
    """Each hooked function in each layout and for both kinds of input."""
    load_plugins()
    seen: dict[str, Any] = {}
    for tp, dp, rank in ((2, 4, 3), (2, 4, 2), (1, 8, 3)):
        with parallel(tp, dp, rank):
            session, handler = stub_session(plain_layout(tp, dp, rank))
            begin_with(session)
            gather(dp, is_partial=True)
            gather(dp, is_partial=False)
            out = torch.zeros(ROWS, WIDTH, dtype=torch.bfloat16)
            ops.dp_reduce_scatter(
                out, torch.ones(ROWS * dp, WIDTH, dtype=torch.bfloat16), NoCollectives()
            )
            seen[f"tp{tp}dp{dp}rank{rank}"] = [
                {
                    "operation": call["operation"],
                    "out": call["out"],
                    "sum_in": sum(map(sum, call["in"])),
                }
                for call in handler.calls
            ]
            assert bool((out == 7).all())
    return seen


def passing() -> dict[str, Any]:
    """Calls that are not taken reach the original with their own arguments, and are counted."""
    load_plugins()
    reached: list[Any] = []
    hooks = HookRegistry._hooks["sglang.srt.layers.dp_attention._dp_gather_via_all_gather"]
    plugin = hooks[0][1].__self__
    batches = {True: NoCollectives(), False: NoCollectives(DpPaddingMode.SUM_LEN)}

    def original(
        big: torch.Tensor,
        small: torch.Tensor,
        forward_batch: object,
        is_partial: bool,
    ) -> None:
        handed_on = forward_batch in batches.values()
        reached.append([list(big.shape), list(small.shape), handed_on, is_partial])

    def fits(_tokens: list[int]) -> bool:
        return True

    def fits_not(_tokens: list[int]) -> bool:
        return False

    def call(dtype: torch.dtype, rows: int = ROWS, *, max_len: bool = True) -> None:
        big = torch.ones(rows * 4, WIDTH, dtype=dtype)
        small = torch.ones(rows, WIDTH, dtype=dtype)
        plugin.gather(original, big, small, batches[max_len], is_partial=False)
        assert bool((small == 1).all())

    with parallel(2, 4, 3):
        plugin._session = None
        call(torch.bfloat16)  # before the start: not counted, there is no witness
        session, handler = stub_session(plain_layout(2, 4, 3))
        begin_with(session)
        call(torch.int32)
        call(torch.bfloat16, rows=0)
        call(torch.bfloat16, max_len=False)
        big = torch.ones(ROWS * 4, WIDTH, dtype=torch.bfloat16)
        small = torch.ones(ROWS, WIDTH, dtype=torch.bfloat16)
        compiled = torch.compile(plugin.gather, backend="eager", fullgraph=True)
        compiled(original, big, small, batches[True], False)
        # 0.5.23 sends small batches past both functions; not while a handler is there.
        shortcut = [plugin.padding(answer, [1, 1]) for answer in (fits, fits_not)]
        busy = session.witness.document()
        session, _ = stub_session(plain_layout(2, 4, 3, dtype="float32"))
        begin_with(session)
        call(torch.float32)
        kept = plugin.padding(fits, [1, 1])
    with parallel(1, 8, 3):
        session, handler = stub_session(plain_layout(2, 4, 3))
        begin_with(session)
        call(torch.bfloat16)
    return {
        "reached": reached,
        "handled": len(handler.calls),
        "busy": busy["passed_through"],
        "declined": busy["shortcuts_declined"],
        "shortcut": shortcut,
        "idle_keeps_shortcut": kept,
        "draft": session.witness.document()["passed_through"],
    }


def hooks_applied() -> list[str]:
    return sorted(
        name
        for name in (
            "init_dp_gathered_buffer",
            "_dp_gather_via_all_gather",
            "dp_reduce_scatter_tensor",
            "_decode_sum_len_fits_custom_all_reduce",
        )
        if hasattr(getattr(dp_attention, name, None), "__wrapped__")
    )


def loading() -> dict[str, Any]:
    """What the environment of this process makes SGLang's loader do."""
    ended = None
    try:
        load_plugins()
    except SystemExit as stopped:
        ended = str(stopped.code)
    return {
        "ended": ended,
        # SGLang's own wheels bring plugins, too (smg-grpc-servicer).
        "registered": sorted(
            target
            for target, hooks in HookRegistry._hooks.items()
            if any(source is None or source.dist_name == "servegate-sglang" for *_, source in hooks)
        ),
        "applied": hooks_applied(),
        "propagated": ops.dp_reduce_scatter_tensor is dp_attention.dp_reduce_scatter_tensor,
    }


def renamed() -> dict[str, Any]:
    """As after an SGLang that renamed one of the functions."""
    del dp_attention._dp_gather_via_all_gather
    return loading()


def exploding() -> dict[str, Any]:
    """As when something inside register() fails that nobody thought of."""

    def explode(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError("inside register")

    HookRegistry.register = explode
    return loading()


def unapplied() -> dict[str, Any]:
    """As when SGLang fails to apply one hook, logs it and goes on."""
    apply_target = HookRegistry._apply_target.__func__

    def failing(cls: type, target: str, hooks: list[Any]) -> None:
        if target.endswith("dp_reduce_scatter_tensor"):
            raise RuntimeError("cannot be hooked")
        apply_target(cls, target, hooks)

    HookRegistry._apply_target = classmethod(failing)
    load_plugins()
    session, _ = stub_session(plain_layout(2, 4, 3))
    try:
        begin_with(session)
    except HookTargetError as error:
        return {"error": str(error)}
    return {"error": None}


def with_a_second(entry_points: str) -> dict[str, Any]:
    """As when another distribution has SGLang plugins, too; its own adds one to every sum."""
    folder = Path(tempfile.mkdtemp())
    (folder / "stranger.py").write_text(
        "def register():\n"
        "    from sglang.srt.plugins.hook_registry import HookRegistry, HookType\n"
        "    HookRegistry.register('sglang.srt.layers.dp_attention.dp_reduce_scatter_tensor',\n"
        "                          after, HookType.AFTER)\n"
        "def after(result, output, input):\n"
        "    output += 1\n"
        "def nothing():\n"
        "    pass\n"
    )
    info = folder / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sglang.srt.plugins]\n{entry_points}\n")
    sys.path.append(str(folder))
    found = loading()
    hooks = HookRegistry._hooks.get("sglang.srt.layers.dp_attention.init_dp_gathered_buffer")
    if not hooks:
        return {**found, "error": None}
    session, _ = stub_session(plain_layout(2, 4, 3))
    try:
        begin_with(session)
    except HookTargetError as error:
        return {**found, "error": str(error)}
    return {**found, "error": None}


def second_plugin() -> dict[str, Any]:
    """Both listed: it hooks a function of ours."""
    return with_a_second("stranger = stranger:register")


def same_name() -> dict[str, Any]:
    """An entry point of another distribution under our name, found after ours, takes its place."""
    return with_a_second("servegate_mixed_comm = stranger:nothing")


def reduce_scatter_choices() -> dict[str, Any]:
    """By which function rows come back, by padding; and where reduce_scatterv is thought right."""
    ended = None
    try:
        load_plugins()
    except SystemExit as stopped:
        ended = str(stopped.code)
    chosen = {}
    with parallel(1, 4, 0):
        for mode in DpPaddingMode:
            for asked in (True, False):
                function = boundary_exit._select_dp_reduce_scatter(
                    NoCollectives(mode), may_reduce_scatter=True, reduce_scatterv=asked
                )
                chosen[f"{mode.name} {asked}"] = None if function is None else function.__name__
    moe_utils.should_use_flashinfer_cutlass_moe_fp4_allgather = lambda: False
    moe_utils.get_moe_a2a_backend = lambda: types.SimpleNamespace(is_none=lambda: True)
    moe_utils.is_dp_attention_enabled = lambda: True
    variable = {}
    for tp, dp, experts in ((1, 4, 4), (2, 2, 2), (2, 2, 1)):
        with parallel(tp, dp, 0), get_parallel().override(moe_ep_size=experts):
            variable[f"tp{tp}dp{dp}ep{experts}"] = moe_utils.should_use_dp_reduce_scatterv()
    return {"ended": ended, "chosen": chosen, "variable": variable}


def the_older_mistake() -> dict[str, Any]:
    """0.5.16's condition (srt/layers/moe/utils.py), with the hook around it."""
    hook = guard(Tally(None, "0.5.16"))
    found = {}
    for tp, dp, experts in ((1, 4, 4), (2, 2, 2), (2, 2, 1)):
        with parallel(tp, dp, 0), get_parallel().override(moe_ep_size=experts):

            def asked() -> bool:
                own = get_parallel()
                return bool(own.attn_dp_size > 1 and own.moe_ep_size == own.attn_dp_size)

            found[f"tp{tp}dp{dp}ep{experts}"] = [asked(), hook(asked)]
    return found


ON = {"SGLANG_USE_MIXED_COMM": "1"}
OTHER = {"SGLANG_PLUGINS": "servegate_reduce_scatter"}
SCENARIOS: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, str]]] = {
    "operations": (operations, ON),
    "passing": (passing, ON),
    "on": (loading, ON),
    "unset": (loading, {}),
    "zero": (loading, {"SGLANG_USE_MIXED_COMM": "0"}),
    "not-listed": (loading, ON | {"SGLANG_PLUGINS": "none"}),
    "renamed": (renamed, ON),
    "exploding": (exploding, ON),
    "unapplied": (unapplied, ON),
    # Empty is as unset: every plugin that is installed is loaded.
    "all-plugins-off": (loading, {"SGLANG_PLUGINS": ""}),
    "no-entry-point": (loading, ON | {"SGLANG_PLUGINS": "servegate_mixed_com"}),
    "second-plugin": (second_plugin, ON | {"SGLANG_PLUGINS": "servegate_mixed_comm,stranger"}),
    "second-not-listed": (second_plugin, ON),
    "same-name": (same_name, ON),
    "choices": (reduce_scatter_choices, OTHER),
    "choices-prefer": (reduce_scatter_choices, OTHER | {"SERVEGATE_PREFER_REDUCE_SCATTER": "1"}),
    "choices-fix": (reduce_scatter_choices, OTHER | {"SERVEGATE_FIX_REDUCE_SCATTERV": "1"}),
    "older-mistake": (the_older_mistake, {}),
}
