"""Times ways to carry the fused operations between CPU ranks, and SGLang's own two collectives.

Usage: python -m benchmarks.mixed_comm_exchange [RANKS] [gloo | shm]. Prints milliseconds a call on
rank 0; shm (the default) is the backend of the plugin torch_cpu, which has collectives only. The
figure is the time of the reference handler's pair of operations over that of the four collectives
that SGLang makes in their stead, at 8 rows: the handler must not be what makes an arm slower.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from servegate_sglang.mixed_comm.handlers.reference import ReferenceHandler
from servegate_sglang.mixed_comm.policy import Operation
from servegate_sglang.torch_cpu.collectives import backend_name

ATTENTION_TP = 2
WIDTH = 768
ROWS = (2, 8, 64)
CALLS = 100
LIMIT = 1.2


def candidates(rank: int, world: int, rows: int) -> dict[str, Callable[[], object]]:
    """The calls to time, by name, on tensors of `rows` rows a DP group."""
    tp, dp = ATTENTION_TP, world // ATTENTION_TP
    everyone = dist.new_group(list(range(world)))
    peers = [dist.new_group(list(range(first, first + tp))) for first in range(0, world, tp)]
    mine = peers[rank // tp]
    handler = ReferenceHandler(tp, dp, everyone)
    small = torch.randn(rows, WIDTH).bfloat16()
    big = torch.randn(rows * dp, WIDTH).bfloat16()
    small_out, big_out = torch.empty_like(small), torch.empty_like(big)
    of_all = torch.empty(world * rows, WIDTH, dtype=torch.bfloat16)

    def two_step_gather() -> None:
        part = small.clone().tensor_split(tp)[rank % tp]
        dist.reduce_scatter_single(part, small, group=mine)
        dist.all_gather_single(big_out, part)

    def two_step_scatter() -> None:
        part = big.clone().tensor_split(world)[rank]
        dist.reduce_scatter_single(part, big)
        dist.all_gather_single(small_out, part, group=mine)

    def point_to_point() -> None:
        parts = of_all.chunk(world)
        others = [other for other in range(world) if other != rank]
        swaps = [dist.P2POp(dist.isend, small, other) for other in others]
        swaps += [dist.P2POp(dist.irecv, parts[other], other) for other in others]
        for work in dist.batch_isend_irecv(swaps):
            work.wait()

    exchanges: dict[str, Callable[[], object]] = {
        "all-to-all alone": lambda: dist.all_to_all_single(of_all, small.repeat(world, 1)),
        "point to point": point_to_point,
    }
    return {
        **(exchanges if dist.get_backend() == "gloo" else {}),
        "all-gather alone": lambda: dist.all_gather_single(of_all, small),
        "reference gather": lambda: handler.run(Operation.ALLREDUCE_ALLGATHER, small, big_out),
        "two-step gather": two_step_gather,
        "reference scatter": lambda: handler.run(Operation.REDUCESCATTER_ALLREDUCE, big, small_out),
        "two-step scatter": two_step_scatter,
    }


def run_rank(rank: int, world: int, store: str, backend: str) -> None:
    """Time every candidate on one rank."""
    torch.set_num_threads(1)
    if backend == "shm":
        backend = backend_name()
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=world)
    times: dict[str, float] = {}
    for rows in ROWS:
        for name, call in candidates(rank, world, rows).items():
            for _ in range(5):
                call()
            dist.barrier()
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            milliseconds = (time.perf_counter() - start) / CALLS * 1e3
            times[f"{name} {rows}"] = milliseconds
            if rank == 0:
                print(f"rows {rows:3d}  {name:18s} {milliseconds:7.3f} ms", flush=True)
    dist.destroy_process_group()
    if rank == 0:
        Path(store).with_name("times.json").write_text(json.dumps(times), encoding="utf-8")


def main(ranks: int, carrier: str) -> int:
    """Exit code 0 if the handler costs no more than 1.2 times what it replaces."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run_rank, args=(ranks, str(Path(folder) / "store"), carrier), nprocs=ranks)
        times = json.loads((Path(folder) / "times.json").read_text(encoding="utf-8"))
    handler = times["reference gather 8"] + times["reference scatter 8"]
    figure = handler / (times["two-step gather 8"] + times["two-step scatter 8"])
    verdict = "holds" if figure <= LIMIT else "falls short"
    print(f"benchmark mixed_comm_exchange: {figure:.2f} (limit {LIMIT:.2f}) {verdict}")
    return 0 if figure <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(
        main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 4,
            sys.argv[2] if len(sys.argv) > 2 else "shm",
        )
    )
