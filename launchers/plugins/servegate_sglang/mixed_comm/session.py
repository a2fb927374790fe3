"""What a scheduler process has once the plugin has started in it: layout, handler, witness."""

import logging
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from servegate_sglang.mixed_comm.handlers import Group, Handler, build_handler
from servegate_sglang.mixed_comm.policy import (
    Direction,
    Layout,
    Operation,
    Reason,
    choose,
    layout_reason,
)
from servegate_sglang.mixed_comm.runtime import dtype_name, read_call, read_group
from servegate_sglang.mixed_comm.settings import Settings
from servegate_sglang.mixed_comm.targets import Target, parse_version
from servegate_sglang.mixed_comm.witness import Witness, now

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A handler, or the reason why there is none (`idle`), and what is counted."""

    layout: Layout
    idle: Reason | None
    handler: Handler | None
    witness: Witness

    def choose(
        self, direction: Direction, small: torch.Tensor, big: torch.Tensor, forward_batch: Any
    ) -> Operation | None:
        """The operation to run; None, after counting why, to take SGLang's own path."""
        if torch.compiler.is_compiling():
            self.witness.compiled()
            return None
        choice: Operation | Reason
        if self.idle is None:
            choice = choose(read_call(direction, small, big, forward_batch), self.layout)
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


def begin(settings: Settings, sglang: str, targets: tuple[Target, ...], loaded_at: str) -> Session:
    """Make the handler if the layout has a use for it, write the first witness, log one line.

    Collective: every rank of the group gets here, with the same layout. `loaded_at` is when this
    process registered the hooks.
    """
    group = read_group(parse_version(sglang))
    layout = group.layout
    idle = layout_reason(layout)
    handler = None if idle is not None else _handler(settings, group)
    identity = _identity(layout, sglang, targets, loaded_at, idle=idle, handler=handler)
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


def _handler(settings: Settings, group: Group) -> Handler:
    return build_handler(settings.handler, group, may_compile=settings.may_compile)


def _identity(
    layout: Layout,
    sglang: str,
    targets: tuple[Target, ...],
    loaded_at: str,
    *,
    idle: Reason | None,
    handler: Handler | None,
) -> dict[str, Any]:
    return {
        "rank": layout.rank,
        "world_size": layout.world_size,
        "attention_tp": layout.attention_tp,
        "attention_dp": layout.attention_dp,
        "nodes": layout.nodes,
        "sglang_version": sglang,
        "flashinfer_version": _version_of("flashinfer-python"),
        "servegate_version": _version_of("servegate-sglang"),
        "torch_version": torch.__version__,
        "cuda_version": torch.version.cuda,
        "nccl_version": _nccl_version(),
        "handler": None if handler is None else handler.name,
        "kernels": None if handler is None else handler.kernels,
        "handler_details": {} if handler is None else handler.details(),
        "idle_reason": idle,
        "hooks": {target.role: target.path for target in targets},
        "loaded_at": loaded_at,
        "began_at": now(),
    }


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _nccl_version() -> str | None:
    """Of the NCCL that torch has loaded; None on a build without CUDA or a machine without GPU."""
    if not torch.cuda.is_available():
        return None
    return ".".join(map(str, torch.cuda.nccl.version()))
