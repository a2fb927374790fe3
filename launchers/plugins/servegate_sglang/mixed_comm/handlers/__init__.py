"""Implementations of the fused operations, and the choice between them."""

from servegate_sglang.mixed_comm.handlers.base import Group, Handler
from servegate_sglang.mixed_comm.handlers.flashinfer import FlashInferHandler
from servegate_sglang.mixed_comm.handlers.reference import ReferenceHandler
from servegate_sglang.mixed_comm.settings import HandlerChoice

__all__ = ["Group", "Handler", "build_handler"]


def build_handler(choice: HandlerChoice, group: Group, *, may_compile: bool = False) -> Handler:
    """Make the handler asked for; collective. One that cannot be made is an error.

    `auto` decides by the device alone: a CUDA server without MixedComm's requirements stops,
    instead of measuring the reference under MixedComm's name. `may_compile` lets FlashInfer compile
    its kernels here and now.
    """
    if choice is HandlerChoice.AUTO:
        on_cuda = group.device.type == "cuda"
        choice = HandlerChoice.FLASHINFER if on_cuda else HandlerChoice.REFERENCE
    if choice is HandlerChoice.FLASHINFER:
        return FlashInferHandler.build(group, may_compile=may_compile)
    layout = group.layout
    return ReferenceHandler(layout.attention_tp, layout.attention_dp, group.device_group)
