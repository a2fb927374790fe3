"""Run by test_mixed_comm_reference: N gloo processes compute every operation and judge it.

Usage: python -m tests.launchers.plugins.mixed_comm.ranks N FOLDER. Each rank writes rank{R}.json
with its failures and the digests of its outputs.
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from servegate_sglang.mixed_comm.handlers.reference import ReferenceHandler
from servegate_sglang.mixed_comm.policy import Call, Direction, Layout, Matrix, Operation, choose
from tests.launchers.plugins.mixed_comm.layout import plain_layout

ROWS = (1, 2, 3, 5, 8, 16, 4096)
MANY = 4096
REPEATS = 6
# Half a unit in the last place, relative to the value: 8 bits of significand, and 11.
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call: operation, split, rows, dtype and what the inputs are made of."""

    operation: Operation
    tp: int
    dp: int
    rows: int
    dtype: torch.dtype
    kind: str
    repeat: int

    @property
    def width(self) -> int:
        """Drawn by the case, alike on all ranks: rows times width fills whole 16-byte accesses."""
        if self.rows == MANY:
            return 8  # 8 ranks of 8 blocks of it fit into the memory of a small machine
        drawn = random.Random(f"{self.tp} {self.dp} {self.rows} {self.repeat}").randint(1, 40)
        return 8 * drawn if self.rows % 2 else 4 * drawn

    def inputs(self) -> list[torch.Tensor]:
        """The input of every rank, the same on all of them."""
        rows = self.rows
        if self.operation in (Operation.REDUCESCATTER, Operation.REDUCESCATTER_ALLREDUCE):
            rows *= self.dp
        shape = (rows, self.width)
        made = []
        for rank in range(self.tp * self.dp):
            drawn = torch.Generator().manual_seed(1000 * self.repeat + 10 * self.rows + rank)
            values = torch.randn(shape, generator=drawn) * 2.0 ** (rank % 3)
            match self.kind:
                case "negative-zero":
                    values = torch.full(shape, -0.0)
                case "zero":
                    values = torch.zeros(shape)
                case "cancelling":
                    values = torch.ones(shape) * (1 if rank % 2 else -1)
            made.append(values.to(self.dtype))
        return made

    def expected(self, inputs: list[torch.Tensor], rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The result on `rank` in fp64, and the sum of magnitudes behind each element."""
        exact = torch.stack(inputs).double()
        if self.operation in (Operation.ALLGATHER, Operation.ALLREDUCE_ALLGATHER):
            blocks = exact.view(self.dp, self.tp, self.rows, self.width)
            return blocks.sum(1).flatten(0, 1), blocks.abs().sum(1).flatten(0, 1)
        mine = exact.view(-1, self.dp, self.rows, self.width)[:, rank // self.tp]
        return mine.sum(0), mine.abs().sum(0)


def cases(world: int) -> Iterator[Case]:
    """Every split with attention DP, every operation that is legal there."""
    calls = [(row, torch.bfloat16, "random", 0) for row in ROWS]
    calls += [(2, torch.bfloat16, "random", repeat) for repeat in range(1, REPEATS)]
    calls += [(2, torch.float16, "random", 0)]
    calls += [(2, torch.bfloat16, kind, 0) for kind in ("zero", "negative-zero", "cancelling")]
    for dp in (size for size in (2, 4, 8) if size <= world):
        tp = world // dp
        pair = (Operation.ALLREDUCE_ALLGATHER, Operation.REDUCESCATTER_ALLREDUCE)
        if tp == 1:
            pair = (Operation.ALLGATHER, Operation.REDUCESCATTER)
        for row, dtype, kind, repeat in calls:
            for operation in pair:
                yield Case(
                    operation=operation,
                    tp=tp,
                    dp=dp,
                    rows=row,
                    dtype=dtype,
                    kind=kind,
                    repeat=repeat,
                )


def passed_through(layout: Layout) -> dict[str, str]:
    """What this rank answers to calls that no fused operation may take."""
    found = {}
    for name, rows, dtype in (
        ("no rows", 0, torch.bfloat16),
        ("integers", 4, torch.int32),
        ("single precision", 4, torch.float32),
        ("half of an access", 1, torch.bfloat16),
    ):
        for direction in Direction:
            small, big = (
                torch.zeros(count, 12, dtype=dtype) for count in (rows, rows * layout.attention_dp)
            )
            call = Call(
                direction=direction,
                small=_matrix(small),
                big=_matrix(big),
                attention_tp=layout.attention_tp,
                attention_dp=layout.attention_dp,
                world_gather=False,
                variable_length=False,
                max_len=True,
            )
            found[f"{name}, {direction}"] = str(choose(call, layout))
    return found


def _matrix(tensor: torch.Tensor) -> Matrix:
    return Matrix(
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        contiguous=tensor.is_contiguous(),
    )


def check(case: Case, rank: int, handler: ReferenceHandler) -> tuple[list[str], str]:
    """What is wrong with one call, and the digest of its output's bits."""
    inputs = case.inputs()
    x = inputs[rank]
    before = x.clone()
    expected, magnitude = case.expected(inputs, rank)
    out = torch.full(expected.shape, float("nan"), dtype=case.dtype)
    handler.run(case.operation, x, out)
    problems = []
    bound = ROUNDING[case.dtype] * expected.abs() + 8 * 2.0**-24 * magnitude
    if not bool(((out.double() - expected).abs() <= bound).all()):
        problems.append(f"{case} is not the rounded sum")
    if bool(torch.signbit(out)[out == 0].any()):
        problems.append(f"{case} has a negative zero")
    if not torch.equal(x.view(torch.int16), before.view(torch.int16)):
        problems.append(f"{case} changed its input")
    return problems, hashlib.sha256(out.view(torch.int16).numpy().tobytes()).hexdigest()


def run_rank(rank: int, world: int, folder: Path) -> None:
    """All cases on one rank."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world
    )
    group = dist.new_group(list(range(world)))
    problems: list[str] = []
    digests: dict[str, str] = {}
    for case in cases(world):
        handler = ReferenceHandler(case.tp, case.dp, group)
        found, digests[str(case)] = check(case, rank, handler)
        problems += found
    passed = {
        f"tp {tp}": passed_through(plain_layout(tp, world // tp, rank))
        for tp in (1, 2, 4)
        if tp < world
    }
    report = {
        "problems": problems,
        "digests": digests,
        "details": handler.details(),
        "passed": passed,
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    world_size = int(sys.argv[1])
    mp.spawn(run_rank, args=(world_size, Path(sys.argv[2])), nprocs=world_size)
