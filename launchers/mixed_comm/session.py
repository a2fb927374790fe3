"""What a scheduler process has once the plugin has started in it: layout, handler, witness."""

import logging
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from launchers.mixed_comm.handlers import Handler, build_handler
from launchers.mixed_comm.policy import (
    Direction,
    Layout,
    Operation,
    Reason,
    choose,
    layout_reason,
)
from launchers.mixed_comm.runtime import dtype_name, read_call, read_group
from launchers.mixed_comm.settings import Settings
from launchers.mixed_comm.targets import Target, parse_version
from launchers.mixed_comm.witness import Witness

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A handler, or the reason why there is none (`idle`), and what is counted."""

    layout: Layout
    idle: Reason | None
    handler: Handler | None
    witness: Witness

    def choose(
        self, direction: Direction, small: torch.Tensor, big: torch.Tensor
    ) -> Operation | None:
        """The operation to run; None, after counting why, to take SGLang's own path."""
        if torch.compiler.is_compiling():
            self.witness.compiled()
            return None
        choice: Operation | Reason
        if self.idle is None:
            choice = choose(read_call(direction, small, big), self.layout)
        else:
            choice = self.idle
        if isinstance(choice, Operation):
            return choice
        self.witness.passed(choice)
        return None

    def run(self, operation: Operation, x: torch.Tensor, out: torch.Tensor) -> None:
        """Compute `operation` from `x` into `out` and count it."""
        if self.handler is None:
            raise RuntimeError(f"mixed-comm: {operation} asked of an idle session ({self.idle})")
        self.handler.run(operation, x, out)
        self.witness.took(operation, x.shape, out.shape, dtype_name(x.dtype))


def begin(settings: Settings, sglang: str, targets: tuple[Target, ...]) -> Session:
    """Make the handler if the layout has a use for it, write the first witness, log one line.

    Collective: every rank of the group gets here, with the same layout.
    """
    group = read_group(parse_version(sglang))
    layout = group.layout
    idle = layout_reason(layout)
    handler = None if idle is not None else build_handler(settings.handler, group)
    identity = _identity(layout, sglang, targets, idle=idle, handler=handler)
    session = Session(
        layout=layout,
        idle=idle,
        handler=handler,
        witness=Witness(settings.witness_dir, identity),
    )
    folder = settings.witness_dir
    logger.info(
        "MIXEDCOMM_PLUGIN %s rank=%d op-handler=%s attention-tp=%d attention-dp=%d witness=%s",
        "active" if idle is None else f"idle ({idle})",
        layout.rank,
        identity["handler"],
        layout.attention_tp,
        layout.attention_dp,
        "none (SERVEGATE_WITNESS_DIR is not set)" if folder is None else folder,
    )
    return session


def _identity(
    layout: Layout,
    sglang: str,
    targets: tuple[Target, ...],
    *,
    idle: Reason | None,
    handler: Handler | None,
) -> dict[str, Any]:
    return {
        "rank": layout.rank,
        "world_size": layout.world_size,
        "attention_tp": layout.attention_tp,
        "attention_dp": layout.attention_dp,
        "sglang_version": sglang,
        "flashinfer_version": _flashinfer_version(),
        "torch_version": torch.__version__,
        "handler": None if handler is None else handler.name,
        "handler_details": {} if handler is None else handler.details(),
        "idle_reason": idle,
        "hooks": {target.role: target.path for target in targets},
    }


def _flashinfer_version() -> str | None:
    try:
        return metadata.version("flashinfer-python")
    except metadata.PackageNotFoundError:
        return None
