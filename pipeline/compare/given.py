"""What a folder or file given on the command line holds, and who wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.accuracy.answer_set import AnswerSet
from evals.accuracy.evalscope import TOOL as EVALSCOPE
from evals.accuracy.evalscope import read_evalscope_review, review_files
from evals.accuracy.lm_eval import TOOL as LM_EVAL
from evals.accuracy.lm_eval import read_lm_eval_samples, sample_files
from evals.accuracy.nemo import TOOL as NEMO
from evals.accuracy.nemo import nemo_folders, read_nemo_run
from evals.accuracy.sgl_eval import TOOL as SGL_EVAL
from evals.accuracy.sgl_eval import is_sgl_eval_run, read_sgl_eval_run
from evals.files import DataError
from evals.latency.results import BenchResult, is_bench_file, read_bench_file
from pipeline.compare.sides import Side, of_answers, of_run
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError

__all__ = ["Given", "read_given"]

_READABLE = (
    "run folders of servegate, sgl-eval, NeMo-Skills and evalscope, samples of "
    "lm-evaluation-harness (--log_samples), results of SGLang's and vLLM's serving benchmarks"
)
_BENCH = "a serving benchmark"


@dataclass(frozen=True, kw_only=True)
class Given:
    """One side of a comparison: answers, or results of a benchmark; never both."""

    source: Path
    sides: Sequence[Side] = ()
    results: Sequence[BenchResult] = field(default=())


def read_given(path: Path) -> Given:
    """Read a folder or a file.

    Raises:
        RecordError: It holds nothing that is known, results of two tools, or damaged ones.
    """
    try:
        return _read_file(path) if path.is_file() else _read_folder(path)
    except DataError as error:
        raise RecordError(str(error)) from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error


def _read_file(path: Path) -> Given:
    if is_bench_file(path):
        return Given(source=path, results=read_bench_file(path))
    if path.name.startswith("samples_"):
        return _answers(path, [path], read_lm_eval_samples)
    if path.suffix in {".json", ".jsonl"} and path.stat().st_size == 0:
        raise RecordError(f"{path}: is empty")
    raise _unknown(path)


def _read_folder(path: Path) -> Given:
    if not path.is_dir():
        raise RecordError(f"{path}: does not exist")
    if (path / "plan.json").is_file():
        return Given(source=path, sides=of_run(RunFolder(path)))
    benches = [file for file in _tables(path) if is_bench_file(file)]
    there = [(tool, files, read) for tool, files, read in _evaluators(path) if files]
    tools = [*([_BENCH] if benches else []), *(tool for tool, _, _ in there)]
    if len(tools) > 1:
        raise RecordError(
            f"{path}: holds results of {' and of '.join(tools)}; give the folder or file of one"
        )
    if benches:
        return _benches(path, benches)
    if not there:
        raise _unknown(path)
    [(_, files, read)] = there
    return _answers(path, files, read)


_Reader = Callable[[Path], Sequence[AnswerSet]]


def _evaluators(folder: Path) -> list[tuple[str, Sequence[Path], _Reader]]:
    """What each evaluator left in a folder, and how it is read."""
    own = [folder] if is_sgl_eval_run(folder) else []
    nemo = [] if own else [one for one in nemo_folders(folder) if not is_sgl_eval_run(one)]
    return [
        (SGL_EVAL, own, lambda path: [read_sgl_eval_run(path)]),
        (NEMO, nemo, lambda path: [read_nemo_run(path, "" if path == folder else path.name)]),
        (LM_EVAL, sample_files(folder), read_lm_eval_samples),
        (EVALSCOPE, review_files(folder), lambda path: [read_evalscope_review(path)]),
    ]


def _tables(folder: Path) -> list[Path]:
    """JSON files of a folder; vLLM adds a copy in PyTorch's form when it is told to."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in {".json", ".jsonl"}
        and path.is_file()
        and not path.name.endswith(".pytorch.json")
    )


def _benches(folder: Path, benches: Sequence[Path]) -> Given:
    others = [path for path in _tables(folder) if path not in benches]
    if others:
        raise RecordError(
            f"{others[0]}: is no result of a serving benchmark, as the other files there are; "
            "move it away, or give the file that is meant"
        )
    return Given(
        source=folder, results=[result for path in benches for result in read_bench_file(path)]
    )


def _answers(source: Path, files: Sequence[Path], read: _Reader) -> Given:
    """The answers in all files; two runs of one benchmark in one folder are two sides."""
    sides = [of_answers(source, one) for file in files for one in read(file)]
    jobs = Counter(side.job for side in sides)
    if twice := [job for job, count in jobs.items() if count > 1]:
        raise RecordError(
            f"{source}: holds {twice[0]} {jobs[twice[0]]} times; give the folder or file of one"
        )
    return Given(source=source, sides=sides)


def _unknown(path: Path) -> RecordError:
    return RecordError(
        f"{path}: is not a result that servegate reads: {_READABLE} (docs/compare.md)"
    )
