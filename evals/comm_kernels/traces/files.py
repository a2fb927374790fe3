"""Traces of whatever kind, as files: which reader each one needs, and which rank it is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evals.comm_kernels.traces.kineto import read_kineto
from evals.comm_kernels.traces.nsys import read_nsys
from evals.comm_kernels.traces.nsys_checks import EXPORT
from evals.comm_kernels.traces.table import UNKNOWN_RANK, RankKernels, TraceError

__all__ = ["read_traces"]

_SQLITE = b"SQLite format 3\0"
_NSYS_REPORTS = (".nsys-rep", ".qdrep", ".qdstrm")


def read_traces(paths: Sequence[Path]) -> list[RankKernels]:
    """Every rank in these files; what a file is, its first bytes say.

    Files of one rank each whose names and contents have no rank are taken in the order given.

    Raises:
        TraceError: A file cannot be read, or holds no decode step.
    """
    repeated = [
        path for path, times in Counter(path.resolve() for path in paths).items() if times > 1
    ]
    if repeated:
        raise TraceError(f"{repeated[0]}: is given twice")
    ranks = [rank for path in paths for rank in _read(path)]
    unknown = [rank for rank in ranks if rank.rank == UNKNOWN_RANK]
    if unknown and len(unknown) < len(ranks):
        raise TraceError(
            f"{unknown[0].source}: nothing says which rank it is of, while other files say theirs; "
            "name it so that -TP-N or rankN is in its name"
        )
    if unknown:
        return [rank.renumbered(number) for number, rank in enumerate(ranks)]
    return ranks


def _read(path: Path) -> list[RankKernels]:
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE))
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix in _NSYS_REPORTS:
        raise TraceError(f"{path}: is nsys's own format; export it first: {EXPORT}")
    return read_nsys(path) if begin == _SQLITE else read_kineto(path)
