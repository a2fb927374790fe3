"""What must be changed inside SGLang for PyTorch's CPU device, each with the lines it relies on.

SGLang's `_is_cpu` switches mean "my own CPU engine", which is off here, so a few shared paths
would ask for CUDA or Triton. File and line numbers are those of sglang 0.5.23 (sglang/srt/...).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from servegate_sglang.torch_cpu.sglang import find, gone, replace

if TYPE_CHECKING:
    import zmq

CONTROLLER = "sglang.srt.managers.data_parallel_controller"
IDLE_SLEEPER = "sglang.srt.managers.scheduler_components.idle_sleeper"

CONTROLLER_WAIT_MS = 200
"""How long the controller waits for a request before it feeds its watchdog again."""

IDLE_WAIT_MS = 20
"""How long an idle rank waits before it looks whether another attention-DP group has work.

SGLang's own second would add up to a second to the first token of a request that reaches one
group while the other sleeps, since all groups step together.
"""


def apply_model() -> None:
    """Set what a rank needs before its groups and its model exist.

    Raises:
        SystemExit: naming the target that SGLang no longer has.
    """
    # forward_batch_info.py:1948 asks for pinned memory, which needs an NVIDIA driver.
    # Line 2014 then reads get_cpu_graph_seq_len_fill_value from the attention backend.
    replace("sglang.srt.model_executor.forward_batch_info", "_is_cpu", True)
    # parallel_state.py:1145 and :1364 go through custom operators registered for CUDA only.
    replace("sglang.srt.distributed.parallel_state", "_is_cpu", True)
    # dp_attention.py:644: memcpy would be a Triton kernel.
    dp_attention = "sglang.srt.layers.dp_attention"
    replace(dp_attention, "memcpy_func", find(dp_attention, "memcpy_cpu"))

    # Imported here: only a process that is to serve imports the modules that need torch.
    from servegate_sglang.torch_cpu import attention, moe, norm

    attention.install()
    moe.install()
    norm.install()


def apply_waiting() -> None:
    """Make the attention-DP controller and idle ranks sleep until a request comes.

    The controller's loop (data_parallel_controller.py:927) asks its socket again and again; on a
    machine with few cores it would take a whole one from the ranks. It reads through the module's
    name `sock_recv`, so only that name is replaced, and only in a process that has the module.

    Raises:
        SystemExit: naming the target that SGLang no longer has.
    """
    if CONTROLLER in sys.modules:
        receive = find(CONTROLLER, "sock_recv")

        def receive_waiting(socket: zmq.Socket[bytes], flags: int = 0) -> Any:
            socket.poll(CONTROLLER_WAIT_MS)
            return receive(socket, flags=flags)

        replace(CONTROLLER, "sock_recv", receive_waiting)
    if IDLE_SLEEPER in sys.modules:
        # idle_sleeper.py:37, which --sleep-on-idle turns on.
        sleeper = find(IDLE_SLEEPER, "IdleSleeper")

        def maybe_sleep(self: Any) -> None:
            self.poller.poll(IDLE_WAIT_MS)

        if not hasattr(sleeper, "maybe_sleep"):
            raise gone(IDLE_SLEEPER, "IdleSleeper.maybe_sleep")
        sleeper.maybe_sleep = maybe_sleep
