"""The hooks around SGLang's functions: start a session once per scheduler, then use it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from servegate_sglang.mixed_comm.policy import Direction, Operation
from servegate_sglang.mixed_comm.runtime import attention_tp_rank, note_gather_in_prefill_graph
from servegate_sglang.mixed_comm.session import Session
from servegate_sglang.mixed_comm.targets import (
    HookTargetError,
    Role,
    Target,
    Version,
    not_hooked,
)

Original = Callable[..., Any]


def other_hooks(plugin: "MixedComm") -> list[str]:
    """Hooks on our targets that are not ours, as `plugin name: function`."""
    # Imported here: the registry is SGLang's, and tests of the hooks alone have none.
    from sglang.srt.plugins.hook_registry import HookRegistry

    return [
        f"{'unknown' if source is None else source.plugin_name}: {target.path}"
        for target in plugin.targets
        for _, hook, source in HookRegistry._hooks.get(target.path, ())
        if getattr(hook, "__self__", None) is not plugin
    ]


class MixedComm:
    """The hooks of one process; only a scheduler's ever get a session."""

    def __init__(
        self,
        version: Version,
        targets: tuple[Target, ...],
        originals: Mapping[Role, Original],
        begin: Callable[[], Session],
    ) -> None:
        """Keep what `start` needs.

        Args:
            version: SGLang's.
            targets: what is hooked; `originals` has each one's function before the hooks.
            originals: see above.
            begin: makes the session, collectively, in a scheduler process.
        """
        self._version = version
        self._targets = targets
        self._originals = originals
        self._begin = begin
        self._session: Session | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is hooked."""
        return self._targets

    def hook(self, role: Role) -> Callable[..., Any]:
        """The AROUND hook of a role."""
        hooks: dict[Role, Callable[..., Any]] = {
            Role.START: self.start,
            Role.GATHER: self.gather,
            Role.SCATTER: self.scatter,
            Role.PADDING: self.padding,
        }
        return hooks[role]

    def start(self, original: Original, *args: Any, **kwargs: Any) -> None:
        """AROUND the sizing of the gathered buffer: the first time, begin the session.

        Raises:
            HookTargetError: a hook was registered but not applied, which SGLang only logs; or
                another plugin hooks one of the functions, too.
        """
        original(*args, **kwargs)
        # A draft worker sizes its own buffer in the same process: the target's session stays.
        if self._session is not None:
            return
        unhooked = not_hooked(self._targets, self._originals)
        if unhooked:
            raise HookTargetError(f"mixed-comm: SGLang did not apply the hooks to {unhooked}")
        others = other_hooks(self)
        if others:
            raise HookTargetError(
                f"mixed-comm: another plugin hooks the same functions, so that nobody could say "
                f"what ran: {'; '.join(others)}. Leave it out of SGLANG_PLUGINS"
            )
        self._session = self._begin()

    def gather(
        self,
        original: Original,
        global_tokens: torch.Tensor,
        local_tokens: torch.Tensor,
        forward_batch: Any,
        is_partial: bool,  # noqa: FBT001 - SGLang's signature
    ) -> None:
        """AROUND `_dp_gather_via_all_gather`: [m, H] of every rank into [m * dp, H] on all."""
        session = self._session
        operation = None
        if session is not None:
            operation = session.choose(Direction.GATHER, local_tokens, global_tokens, forward_batch)
        if session is None or operation is None:
            original(global_tokens, local_tokens, forward_batch, is_partial)
            return
        copies = operation is Operation.ALLREDUCE_ALLGATHER and not is_partial
        if copies and attention_tp_rank() != 0:
            # Peers hold copies, and one of them is the sum. SGLang's own code does the same.
            local_tokens.fill_(0)
        session.run(operation, local_tokens, global_tokens)

    def scatter(
        self,
        original: Original,
        output: torch.Tensor,
        input: torch.Tensor,  # noqa: A002 - SGLang's signature
    ) -> None:
        """AROUND `dp_reduce_scatter_tensor`: partial [m * dp, H] into this DP rank's [m, H]."""
        session = self._session
        operation = None
        if session is not None:
            operation = session.choose(Direction.SCATTER, output, input, None)
        if session is None or operation is None:
            original(output, input)
            return
        note_gather_in_prefill_graph(self._version)
        session.run(operation, input, output)

    def padding(self, original: Original, global_num_tokens: list[int]) -> bool:
        """AROUND 0.5.23's choice of one all-reduce for small decode batches: not with a handler.

        That shortcut (SUM_LEN padding) goes past both hooked functions: with it the fused
        operations would never run in decode.
        """
        shortcut = bool(original(global_num_tokens))
        if not shortcut or self._session is None or self._session.handler is None:
            return shortcut
        self._session.witness.declined_shortcut()
        return False
