"""Run by test_torch_cpu_engine: N ranks compute every collective in shared memory and by Gloo.

Usage: python -m tests.launchers.plugins.torch_cpu.ranks N FOLDER. Each rank writes rank{R}.json:
its backend and the names of the checks that failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from servegate_sglang.torch_cpu.collectives import SHARED_SUM, backend_name
from servegate_sglang.torch_cpu.shared_memory import SLOT

DTYPES = (torch.float32, torch.bfloat16, torch.int64)
# One number, uneven, in one sum, in shares, and (float32) over more than one slot.
COUNTS = (1, 7, 4 * 768, SHARED_SUM, SHARED_SUM + 1, SLOT // 4 + 12)


def values(rank: int, count: int, dtype: torch.dtype) -> torch.Tensor:
    random = torch.Generator().manual_seed(100 * rank + count)
    # Small whole numbers: every sum is exact in every dtype, in any order.
    return torch.randint(-8, 9, (count,), generator=random).to(dtype)


def checks(rank: int, size: int) -> Iterator[tuple[str, bool]]:
    for dtype in DTYPES:
        for count in COUNTS:
            everybody = torch.stack([values(one, count, dtype) for one in range(size)])
            what = f"{dtype} {count}"
            mine = everybody[rank].clone()
            dist.all_reduce(mine)
            yield f"all_reduce {what}", torch.equal(mine, everybody.sum(0, dtype=dtype))
            mine = everybody[rank].clone()
            dist.all_reduce(mine, op=dist.ReduceOp.MAX)
            yield f"all_reduce max {what}", torch.equal(mine, everybody.amax(0))
            out = torch.empty(size * count, dtype=dtype)
            dist.all_gather_into_tensor(out, everybody[rank])
            yield f"all_gather {what}", torch.equal(out, everybody.view(-1))
            mine = everybody[rank].clone()
            dist.broadcast(mine, src=size - 1)
            yield f"broadcast {what}", torch.equal(mine, everybody[size - 1])
            yield from scatter(rank, size, count, dtype)
    yield from lists(rank, size)


def scatter(rank: int, size: int, count: int, dtype: torch.dtype) -> Iterator[tuple[str, bool]]:
    """As SGLang does it: the output is a piece of the input."""
    everybody = torch.stack([values(one, size * count, dtype) for one in range(size)])
    whole = everybody[rank].clone()
    mine = whole.tensor_split(size)[rank]
    dist.reduce_scatter_tensor(mine, whole)
    expected = everybody.sum(0, dtype=dtype).view(size, count)[rank]
    yield f"reduce_scatter {dtype} {count}", torch.equal(mine, expected)


def lists(rank: int, size: int) -> Iterator[tuple[str, bool]]:
    out = [torch.empty(3, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(out, torch.full((3,), rank))
    yield "all_gather of a list", [one.tolist() for one in out] == [[r] * 3 for r in range(size)]
    there = [torch.empty(2, dtype=torch.int64) for _ in range(size)] if rank == 1 else None
    dist.gather(torch.full((2,), rank), there, dst=1)
    expected = [[r] * 2 for r in range(size)]
    yield "gather", there is None or [one.tolist() for one in there] == expected
    one = torch.empty(2)
    dist.reduce_scatter(one, [torch.full((2,), float(r)) for r in range(size)])
    yield "reduce_scatter of a list", one.tolist() == [float(rank * size)] * 2
    transposed = torch.arange(6.0).view(2, 3).t()
    dist.all_reduce(transposed)
    yield "not contiguous", torch.equal(transposed, size * torch.arange(6.0).view(2, 3).t())
    dist.barrier()


def rank_main(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    backend = backend_name()
    store = dist.FileStore(f"{folder}/store", size)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    report = {
        "backend": dist.get_backend(),
        "failed": [name for name, passed in checks(rank, size) if not passed],
    }
    Path(folder, f"rank{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    ranks = int(sys.argv[1])
    mp.start_processes(rank_main, (ranks, sys.argv[2]), nprocs=ranks, start_method="fork")
