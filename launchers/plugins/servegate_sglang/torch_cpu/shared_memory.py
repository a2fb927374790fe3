"""Memory shared by the ranks of one group, and the one barrier that makes exchanging over it safe.

Gloo on one host sends every hop of a collective through a socket and three threads. With four
ranks on two cores each hop waits for a turn on a core: 7 to 20 ms a collective, 120 collectives a
decode step. Here a collective is one copy in, one wait, one read.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time

import torch

LINE = 64
"""Bytes between two counters, so that no two ranks write the same cache line."""
SLOT = 8 << 20
"""Bytes one rank can hand over at once. Pages that nobody touches take no memory."""
RECHECK_NS = 10_000_000
"""A sleeper looks again after so long even if nobody woke it (see `Board._arrive`)."""

_FUTEX_SYSCALL = {"x86_64": 202}
"""Other machines may reorder the plain stores that `Board` relies on, so they are not listed."""
_FUTEX_WAIT, _FUTEX_WAKE, _EVERYBODY = 0, 1, 0x7FFFFFFF


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def usable(machine: str) -> bool:
    """True where the barrier's memory order holds and its system call's number is known."""
    return machine in _FUTEX_SYSCALL and hasattr(os, "memfd_create")


def length(size: int) -> int:
    """Bytes of the shared file of a group of `size` ranks: counters, then two slots a rank."""
    return LINE * (size + 1) + 2 * SLOT * size


class Board:
    """One rank's end of the shared memory. Every rank must make the same calls in one order.

    Rank r's counter says how many exchanges it has reached; the generation counter says how many
    all have reached. A rank writes its slot before it counts itself in, and writes slots in turn,
    so whoever writes a slot again knows that all have been through the exchange between, and thus
    have read what stood there.
    """

    def __init__(self, file: int, rank: int, size: int, timeout_s: float, machine: str) -> None:
        self.rank = rank
        self.size = size
        self._timeout_s = timeout_s
        self._memory = mmap.mmap(file, length(size))
        self._counters = [
            ctypes.c_uint32.from_buffer(self._memory, LINE * place) for place in range(size + 1)
        ]
        self._generation = self._counters.pop()
        slots = torch.frombuffer(self._memory, dtype=torch.uint8, offset=LINE * (size + 1))
        self._slots = slots.view(2, size, SLOT)
        self._count = 0
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._number = _FUTEX_SYSCALL[machine]
        self._recheck = _Timespec(0, RECHECK_NS)

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        """Hand over `mine` and see everybody's.

        Args:
            mine: contiguous uint8 [bytes], at most SLOT and equally long on all ranks; an empty
                one makes this a plain barrier.

        Returns:
            uint8 [ranks, bytes], in rank order; valid until the next exchange but one.

        Raises:
            TimeoutError: another rank did not come.
        """
        slots = self._slots[self._count % 2, :, : len(mine)]
        slots[self.rank].copy_(mine)
        self._arrive()
        return slots

    def _arrive(self) -> None:
        # Counters wrap with their 32 bits; equality is all that is ever asked.
        self._count = (self._count + 1) & 0xFFFFFFFF
        count = self._count
        self._counters[self.rank].value = count
        deadline: float | None = None
        # Two ranks that arrive at once may each miss the other's counter, still in a store buffer;
        # both then sleep. That is why a sleeper looks again by itself.
        while not self._everybody(count):
            if self._generation.value == count:
                return
            self._sleep((count - 1) & 0xFFFFFFFF)
            now = time.monotonic()
            if deadline is None:
                deadline = now + self._timeout_s
            elif now > deadline:
                raise TimeoutError(f"torch_cpu: rank {self._missing(count)} did not come")
        # All that see everybody write the same number.
        self._generation.value = count
        self._call(_FUTEX_WAKE, _EVERYBODY, None)

    def _everybody(self, count: int) -> bool:
        # A rank may already be one exchange ahead, never more.
        ahead = (count + 1) & 0xFFFFFFFF
        return all(counter.value in (count, ahead) for counter in self._counters)

    def _missing(self, count: int) -> int:
        return next(rank for rank, one in enumerate(self._counters) if one.value != count)

    def _sleep(self, generation: int) -> None:
        """Wait in the kernel while the generation counter still is `generation`."""
        self._call(_FUTEX_WAIT, generation, ctypes.byref(self._recheck))

    def _call(self, operation: int, value: int, timeout: object) -> None:
        self._syscall(
            self._number, ctypes.byref(self._generation), operation, ctypes.c_uint32(value), timeout
        )
