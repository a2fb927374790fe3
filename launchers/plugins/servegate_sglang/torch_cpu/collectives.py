"""A torch.distributed backend for the ranks of one host, through shared memory.

torch.distributed takes it by name (BACKEND), so SGLang's own collectives, and every plugin's that
use the same groups, run over it unchanged. Sums are made in float32 and in rank order: the same
bits on every rank.
"""

from __future__ import annotations

import functools
import os
import platform
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import ReduceOp
from torch.futures import Future

from servegate_sglang.torch_cpu.shared_memory import SLOT, Board, length, usable

if TYPE_CHECKING:
    from datetime import timedelta

_P = ParamSpec("_P")
_R = TypeVar("_R")

BACKEND = "servegate_shm"

SHARED_SUM = 1 << 16
"""Numbers from which an all-reduce is worth a second exchange: each rank then sums only its share,
as a prefill's large tensors would otherwise be summed by every rank."""


def backend_name() -> str:
    """The backend for this machine, registered: BACKEND, or gloo where it would not be safe."""
    if not usable(platform.machine()):
        return "gloo"
    if BACKEND.upper() not in dist.Backend._plugins:  # no public way to ask
        dist.Backend.register_backend(BACKEND, _create, devices=["cpu"])
    return BACKEND


def _create(store: Any, rank: int, size: int, timeout: timedelta) -> Any:
    """A group over shared memory, or Gloo's when its ranks are not all on this host."""
    file = os.memfd_create(BACKEND) if rank == 0 else -1
    if rank == 0:
        os.ftruncate(file, length(size))
    # The file has no name that could be left behind: the others open it through rank 0.
    store.set(f"place/{rank}", f"{socket.gethostname()} {_boot_id()} {os.getpid()} {file}")
    places = [store.get(f"place/{other}").decode().split() for other in range(size)]
    if any(place[:2] != places[0][:2] for place in places):
        return dist.ProcessGroupGloo(store, rank, size, timeout=timeout)
    if rank != 0:
        file = os.open(f"/proc/{places[0][2]}/fd/{places[0][3]}", os.O_RDWR)
    board = Board(file, rank, size, timeout.total_seconds(), platform.machine())
    board.exchange(torch.empty(0, dtype=torch.uint8))
    os.close(file)
    return SharedMemoryGroup(board)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:  # noqa: PTH123
        return stream.read().strip()


def _seen_as(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Show a collective in a profiler's trace under the name that torch's own backends have there.

    torch calls a group that is written in Python directly, past the operators that it would trace.
    """

    def wrap(method: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(method)
        def traced(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with torch.profiler.record_function(name):
                return method(*args, **kwargs)

        return traced

    return wrap


class SharedMemoryGroup(dist.ProcessGroup):  # type: ignore[misc]  # torch is not followed
    """The collectives that SGLang's tensor and attention groups use; each is done on return.

    Methods and their arguments are those that torch.distributed calls (distributed_c10d.py of
    torch 2.14; the names ending in _base and _tensor are those of older versions).
    """

    def __init__(self, board: Board) -> None:
        super().__init__(board.rank, board.size)
        self._board = board

    def getBackendName(self) -> str:  # noqa: N802  # torch's name
        """What torch.distributed.get_backend says."""
        return BACKEND

    @_seen_as("c10d::allreduce_")
    def allreduce(self, tensors: list[torch.Tensor], opts: Any = None) -> Any:
        """Reduce the one tensor over all ranks, in place."""
        (tensor,) = tensors
        flat = tensor.contiguous().view(-1)
        step = SLOT // flat.element_size()
        for start in range(0, max(flat.numel(), 1), step):
            part = flat[start : start + step]
            size = self._board.size
            if part.numel() < SHARED_SUM or part.numel() % size:
                part.copy_(_reduce(self._gather(part), opts))
                continue
            share = self._gather(part).view(size, size, -1)[:, self._board.rank]
            part.view(size, -1).copy_(self._gather(_reduce(share, opts).to(part.dtype)))
        if not tensor.is_contiguous():
            tensor.copy_(flat.view(tensor.shape))
        return _done(tensors)

    @_seen_as("c10d::_allgather_base_")
    def all_gather_single(self, output: torch.Tensor, given: torch.Tensor, _: Any = None) -> Any:
        """Concatenate every rank's tensor, in rank order, into `output`."""
        flat = given.contiguous().view(-1)
        rows = output.view(self._board.size, -1)
        step = SLOT // flat.element_size()
        for start in range(0, max(flat.numel(), 1), step):
            part = flat[start : start + step]
            rows[:, start : start + step].copy_(self._gather(part))
        return _done([output])

    @_seen_as("c10d::_reduce_scatter_base_")
    def reduce_scatter_single(
        self, output: torch.Tensor, given: torch.Tensor, opts: Any = None
    ) -> Any:
        """Reduce over all ranks and keep this rank's share in `output`, which may be in `given`."""
        shares = given.contiguous().view(self._board.size, -1)
        flat = output.view(-1)
        step = SLOT // (flat.element_size() * self._board.size)
        for start in range(0, max(flat.numel(), 1), step):
            part = shares[:, start : start + step].contiguous()
            everybody = self._gather(part.view(-1)).view(self._board.size, *part.shape)
            flat[start : start + step].copy_(_reduce(everybody[:, self._board.rank], opts))
        return _done([output])

    @_seen_as("c10d::broadcast_")
    def broadcast(self, tensors: list[torch.Tensor], opts: Any) -> Any:
        """Give everybody the root's tensor, in place."""
        (tensor,) = tensors
        flat = tensor.contiguous().view(-1)
        step = SLOT // flat.element_size()
        for start in range(0, max(flat.numel(), 1), step):
            part = flat[start : start + step]
            part.copy_(self._gather(part)[opts.rootRank])
        if not tensor.is_contiguous():
            tensor.copy_(flat.view(tensor.shape))
        return _done(tensors)

    def allgather(self, outputs: list[list[torch.Tensor]], given: Any, _: Any = None) -> Any:
        """Every rank's tensor, one by one, into the list of outputs."""
        (mine,) = given
        together = mine.new_empty(self._board.size, *mine.shape)
        self.all_gather_single(together, mine)
        for output, one in zip(outputs[0], together, strict=True):
            output.copy_(one)
        return _done(outputs)

    def gather(self, outputs: list[list[torch.Tensor]], given: Any, opts: Any) -> Any:
        """Every rank's tensor into the root's list; the others give none."""
        (mine,) = given
        together = mine.new_empty(self._board.size, *mine.shape)
        self.all_gather_single(together, mine)
        if self._board.rank == opts.rootRank:
            for output, one in zip(outputs[0], together, strict=True):
                output.copy_(one)
        return _done(outputs)

    def reduce_scatter(self, outputs: list[torch.Tensor], given: Any, opts: Any = None) -> Any:
        """Reduce a list of one tensor a rank; this rank's into the one output."""
        return self.reduce_scatter_single(outputs[0], torch.stack(list(given[0])), opts)

    def barrier(self, opts: Any = None) -> Any:  # noqa: ARG002  # torch's signature
        """Return once every rank has called this."""
        self._board.exchange(torch.empty(0, dtype=torch.uint8))
        return _done([])

    _allgather_base = all_gather_single
    _reduce_scatter_base = reduce_scatter_single

    def _gather(self, part: torch.Tensor) -> torch.Tensor:
        """Every rank's part, [ranks, numbers], still in the shared memory."""
        return self._board.exchange(part.view(torch.uint8)).view(part.dtype)


def _reduce(everybody: torch.Tensor, opts: Any) -> torch.Tensor:
    """[ranks, ...] -> [...]; half-precision sums in float32."""
    operation = ReduceOp.SUM if opts is None else opts.reduceOp
    if operation == ReduceOp.SUM:
        # Adding rank after rank is twice as fast as sum(dtype=float32) on half precision.
        total = everybody[0].float() if everybody.dtype.itemsize == 2 else everybody[0].clone()
        for one in everybody[1:]:
            total += one
        return total
    if operation == ReduceOp.MAX:
        return everybody.amax(0)
    if operation == ReduceOp.MIN:
        return everybody.amin(0)
    raise NotImplementedError(f"torch_cpu: reduction {operation} is not one of SUM, MAX, MIN")


def _done(result: Any) -> Any:
    future: Future[Any] = Future()
    future.set_result(result)
    return torch._C._distributed_c10d._create_work_from_future(future)
