"""Questions come from a local file or folder, from the real set, or from sgl-eval's own loader."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.accuracy import hub
from evals.accuracy.questions import (
    COLUMNS,
    PLAIN,
    Question,
    Shot,
    duplicate_ids,
    missing_columns,
    to_question,
    to_shot,
)
from evals.files import DataError, digest, read_rows


def sample(questions: Sequence[Question], size: int, seed: int) -> list[Question]:
    """Choose `size` questions, each level in proportion, in their original order.

    Inside a level the order is that of a hash of seed and id, so the choice depends neither on
    the order of the file nor on Python's random numbers, and a larger sample of the same seed
    keeps what a smaller one had of that level while its share grows. Shares are rounded by
    largest remainder.

    Raises:
        ValueError: `size` is not in 1..len(questions).
    """
    if not 1 <= size <= len(questions):
        raise ValueError(f"cannot choose {size} of {len(questions)} questions")
    levels: dict[str | None, list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        levels[question.level].append(index)
    chosen: list[int] = []
    for level, count in _shares({k: len(v) for k, v in levels.items()}, size).items():
        ranked = sorted(levels[level], key=lambda i: digest([seed, questions[i].id]))
        chosen.extend(ranked[:count])
    return [questions[index] for index in sorted(chosen)]


def in_random_order(questions: Sequence[Question], seed: int) -> list[Question]:
    """The order in which a staged job asks: by a hash of seed and id, alike for every arm.

    A stage is then a random sample of the questions, and depends neither on the order of the file
    nor on Python's random numbers.
    """
    return sorted(questions, key=lambda question: digest([seed, "order", question.id]))


def _shares(sizes: dict[str | None, int], total: int) -> dict[str | None, int]:
    """Split `total` over the levels in proportion to their sizes, exactly."""
    everything = sum(sizes.values())
    shares = {level: total * size // everything for level, size in sizes.items()}
    # Integer remainders: no rounding can make two machines disagree about a tie.
    by_remainder = sorted(
        sizes, key=lambda level: (-(total * sizes[level] % everything), str(level))
    )
    for level in by_remainder[: total - sum(shares.values())]:
        shares[level] += 1
    return shares


_SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The questions of a job, already chosen, and where they came from.

    Attributes:
        questions: In the order in which they are asked.
        source: File name, hub name, or ``sgl-eval``.
        sha256: Of the file, or of all rows where there is no file.
        rows: How many the whole set has.
    """

    questions: list[Question]
    source: str
    sha256: str
    rows: int

    def ids_digest(self) -> str:
        """The sha256 over the sorted ids: equal when the same questions are asked."""
        return digest(sorted(question.id for question in self.questions))

    def questions_digest(self) -> str:
        """The sha256 over ids, texts and expected answers: equal when all is asked the same."""
        return digest(sorted([q.id, q.problem, q.expected] for q in self.questions))

    def chosen(self, examples: int | None, seed: int) -> DataSet:
        """The same set with at most `examples` questions; None keeps all.

        Raises:
            DataError: The set has fewer questions than that.
        """
        if examples is None or examples == len(self.questions):
            return self
        if examples > len(self.questions):
            raise DataError(
                f"examples is {examples} but {self.source} has {len(self.questions)} questions; "
                "ask for fewer, or leave `examples` out to ask all"
            )
        return replace(self, questions=sample(self.questions, examples, seed))

    def shuffled(self, seed: int) -> DataSet:
        """The same questions in the order in which a job in stages asks them."""
        return replace(self, questions=in_random_order(self.questions, seed))


def data_file(path: Path) -> Path:
    """The file behind `path`: itself, or test.jsonl or test.parquet in a folder.

    Raises:
        DataError: There is none.
    """
    return _file_in(path, "test")


def shots_file(path: Path) -> Path:
    """The file of worked examples behind `path`: itself, or shots.jsonl in a folder.

    Raises:
        DataError: There is none.
    """
    return _file_in(path, "shots")


def load_local(benchmark: str, path: Path, *, choice_seed: int) -> DataSet:
    """All questions of a local JSON Lines or Parquet file (or a folder with test.jsonl).

    Raises:
        DataError: The file cannot be used. The message names file, line and columns.
    """
    file = data_file(path)
    rows = list(_read(file))
    questions = []
    for index, (place, row) in enumerate(rows):
        _demand_columns(benchmark, file, place, row)
        try:
            questions.append(to_question(benchmark, row, index, choice_seed=choice_seed))
        except DataError as error:
            raise DataError(f"{file}:{place}: {error}") from None
    return _data_set(questions, source=str(file), sha256=_sha256(file))


def load_real(benchmark: str, *, choice_seed: int) -> DataSet:
    """All questions of the real gsm8k or gpqa, through the `datasets` package.

    Raises:
        DataError: It cannot be loaded; the message says what to set and the local alternative.
    """
    rows = hub.load(benchmark, split="test")
    questions = [
        to_question(benchmark, row, index, choice_seed=choice_seed)
        for index, row in enumerate(rows)
    ]
    return _data_set(questions, source=hub.SETS[benchmark].repository, sha256=digest(rows))


def load_shots(benchmark: str, path: Path | None, count: int, *, choice_seed: int) -> list[Shot]:
    """The first `count` worked examples of a file, or of the real set's train split.

    Raises:
        DataError: The file cannot be used, or has fewer than `count` rows.
    """
    if path is None:
        rows = list(enumerate(hub.load(benchmark, split="train")[:count], start=1))
        name = f"{hub.SETS[benchmark].repository} (train)"
    else:
        file = shots_file(path)
        rows, name = list(_read(file)), str(file)
        for place, row in rows:
            _demand_columns(benchmark, file, place, row)
    if len(rows) < count:
        raise DataError(f"few_shot is {count} but {name} has {len(rows)} worked examples")
    shots = []
    for index, (place, row) in enumerate(rows[:count]):
        try:
            shots.append(to_shot(benchmark, row, index, choice_seed=choice_seed))
        except DataError as error:
            raise DataError(f"{name}:{place}: {error}") from None
    return shots


def shared_problem(shots: Sequence[Shot], questions: Sequence[Question]) -> str | None:
    """Why these worked examples give answers away, or None: no question may be among them."""
    asked = {question.problem for question in questions}
    shared = [shot.problem for shot in shots if shot.problem in asked]
    if not shared:
        return None
    return (
        f"{len(shared)} of the worked examples are also asked as questions "
        f"(first: {shared[0][:60]!r}); the two must be disjoint"
    )


def _data_set(questions: list[Question], *, source: str, sha256: str) -> DataSet:
    if not questions:
        raise DataError(f"{source} holds no question; give a file with one JSON object a line")
    if repeated := duplicate_ids(questions):
        shown = ", ".join(repeated[:5])
        raise DataError(f"{source}: ids must be unique; these occur more than once: {shown}")
    return DataSet(questions=questions, source=source, sha256=sha256, rows=len(questions))


def _file_in(path: Path, stem: str) -> Path:
    if path.is_dir():
        candidates = [path / f"{stem}{suffix}" for suffix in _SUFFIXES]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise DataError(f"{path} is a folder without {' or '.join(c.name for c in candidates)}")
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a .jsonl or .parquet file, or a folder")
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; it must end in .jsonl or .parquet")
    return path


def _demand_columns(benchmark: str, file: Path, place: int, row: dict[str, Any]) -> None:
    missing = missing_columns(benchmark, row)
    if not missing:
        return
    wanted = COLUMNS.get(benchmark, PLAIN)
    raise DataError(
        f"{file}:{place}: no column {_quoted(missing)}; found {_quoted(sorted(row))}, wanted "
        f"{_quoted(wanted)}" + ("" if wanted == PLAIN else f" (or {_quoted(PLAIN)})")
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) if names else "nothing"


def _read(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line (or row) number from 1, and row."""
    if file.suffix == ".parquet":
        yield from enumerate(_read_parquet(file), start=1)
        return
    yield from read_rows(file)


def _read_parquet(file: Path) -> list[dict[str, Any]]:
    import pyarrow.lib  # a third of a second: only those who use Parquet pay it
    import pyarrow.parquet

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.lib.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file: {error}") from None
    return rows


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
