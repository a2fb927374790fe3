"""In the mixed-comm plugin's stead: the files by which each rank of an arm says what it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from launchers.fake_engine.settings import Fault, RankPassesThrough
from servegate_sglang.mixed_comm.policy import (
    Call,
    Direction,
    Layout,
    Matrix,
    Operation,
    Reason,
    choose,
    layout_reason,
)
from servegate_sglang.mixed_comm.settings import WITNESS_VARIABLE, read_settings
from servegate_sglang.mixed_comm.targets import targets_for
from servegate_sglang.mixed_comm.witness import Witness, now

__all__ = ["SPOKEN_VERSION", "Witnesses"]

SPOKEN_VERSION = "0.5.23"
"""The SGLang whose endpoints and plugin the fake engine imitates."""

_SWITCH = "SGLANG_USE_MIXED_COMM"
_PLUGIN = "servegate_mixed_comm"
_WIDTH = 64  # of a hidden state, in elements
_DTYPE = "bfloat16"


class Witnesses:
    """One witness a rank, each with a gather and a scatter for every request served.

    Not for every token: counting must not show in this arm's pace.
    """

    def __init__(
        self, ranks: list[tuple[Witness, Layout]], passing: AbstractSet[int] = frozenset()
    ) -> None:
        self._ranks = ranks
        self._passing = passing

    @classmethod
    def begin(
        cls, args: Mapping[str, Any], environment: Mapping[str, str], faults: Sequence[Fault]
    ) -> Witnesses:
        """Write the first files, where the environment switches the plugin on and SGLang loads it.

        Raises:
            SettingsError: the plugin would have refused its environment.
        """
        if not _wanted(environment):
            return cls([])
        settings = read_settings(environment)
        ranks = []
        for rank in range(args["tp_size"]):
            layout = _layout(args, rank)
            ranks.append((Witness(settings.witness_dir, _identity(layout)), layout))
            state = "active" if layout_reason(layout) is None else f"idle ({layout_reason(layout)})"
            print(f"MIXEDCOMM_PLUGIN {state} rank={rank} op-handler=fake", flush=True)
        passing = {fault.rank for fault in faults if isinstance(fault, RankPassesThrough)}
        return cls(ranks, passing)

    def served(self) -> None:
        """Count a request."""
        for witness, layout in self._ranks:
            if layout_reason(layout) is not None:
                continue
            rows = 8  # of a decode batch on one attention-DP rank
            small, big = (rows, _WIDTH), (rows * layout.attention_dp, _WIDTH)
            for direction, x, out in (
                (Direction.GATHER, small, big),
                (Direction.SCATTER, big, small),
            ):
                operation = choose(_call(direction, layout, small, big), layout)
                if layout.rank in self._passing and direction is Direction.GATHER:
                    witness.passed(Reason.DTYPE)
                elif isinstance(operation, Operation):
                    witness.took(operation, x, out, _DTYPE)


def _wanted(environment: Mapping[str, str]) -> bool:
    plugins = environment.get("SGLANG_PLUGINS", "").strip()
    # SGLang: an empty list means every installed plugin.
    loaded = not plugins or _PLUGIN in [name.strip() for name in plugins.split(",")]
    switched = environment.get(_SWITCH, "").strip().lower() in {"1", "true"}
    return loaded and switched and bool(environment.get(WITNESS_VARIABLE))


def _layout(args: Mapping[str, Any], rank: int) -> Layout:
    tp, dp = args["tp_size"], args["attn_dp_size"]
    return Layout(
        rank=rank,
        world_size=tp * args["pp_size"],
        tp_size=tp,
        attention_tp=tp // dp,
        attention_dp=dp,
        attention_cp=1,
        pipeline=args["pp_size"],
        nodes=args["nnodes"],
        attention_dp_enabled=dp > 1,
        elastic=False,
        deterministic=False,
        two_batch_overlap=False,
        single_batch_overlap=False,
        multiplexed_prefill=False,
        speculative=False,
        dtype=_DTYPE,
    )


def _identity(layout: Layout) -> dict[str, Any]:
    idle = layout_reason(layout)
    began_at = now()
    return {
        "rank": layout.rank,
        "world_size": layout.world_size,
        "attention_tp": layout.attention_tp,
        "attention_dp": layout.attention_dp,
        "nodes": layout.nodes,
        "sglang_version": f"fake-{SPOKEN_VERSION}",
        "flashinfer_version": None,
        "servegate_version": None,
        "torch_version": None,
        "cuda_version": None,
        "nccl_version": None,
        "handler": None if idle is not None else "fake",
        "kernels": None if idle is not None else "fake",
        "handler_details": {},
        "idle_reason": idle,
        "hooks": {target.role: target.path for target in targets_for(SPOKEN_VERSION)},
        "loaded_at": began_at,
        "began_at": began_at,
    }


def _call(
    direction: Direction, layout: Layout, small: tuple[int, int], big: tuple[int, int]
) -> Call:
    return Call(
        direction=direction,
        small=Matrix(shape=small, dtype=_DTYPE, contiguous=True),
        big=Matrix(shape=big, dtype=_DTYPE, contiguous=True),
        attention_tp=layout.attention_tp,
        attention_dp=layout.attention_dp,
        world_gather=False,
        variable_length=False,
        max_len=True,
    )
