"""An SGLang plugin for tests: the reference handler loses what rank 1 adds to every sum."""

from typing import Any


def register() -> None:
    from servegate_sglang.mixed_comm.handlers.reference import ReferenceHandler

    right = ReferenceHandler.run

    def run(self: Any, operation: Any, x: Any, out: Any) -> None:
        import torch.distributed as dist

        right(self, operation, x.new_zeros(x.shape) if dist.get_rank(self._group) == 1 else x, out)

    ReferenceHandler.run = run  # type: ignore[method-assign]
