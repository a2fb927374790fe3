from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from evals.accuracy import hub
from evals.accuracy.data import load_local, load_real, load_shots
from evals.files import DataError

GOOD = {"question": "What is 1 + 1?", "answer": "<<1+1=2>>\n#### 2"}
REPOSITORY = Path(__file__).parents[3]


def _write(path: Path, *lines: str | bytes | dict[str, Any]) -> Path:
    encoded = [
        line if isinstance(line, bytes) else line.encode() if isinstance(line, str)
        else json.dumps(line).encode()
        for line in lines
    ]  # fmt: skip
    path.write_bytes(b"\n".join(encoded))
    return path


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "test.jsonl: is empty"),
        (["", "  "], "test.jsonl: is empty"),
        ([GOOD, "{oops"], ":2: is not whole JSON"),
        ([GOOD, "", b"\xff\xfe"], ":3: is not whole JSON"),
        ([GOOD, "[1]"], ":2: is list, not a JSON object"),
        (
            [GOOD, {"question": "q", "label": 2}],
            ":2: no column 'answer'; found 'label', 'question', wanted 'question', 'answer'",
        ),
        ([{}], "found nothing"),
        ([GOOD, {"question": "q", "answer": "2"}], ":2: column 'answer' has no '####"),
        ([GOOD | {"id": "a"}, GOOD | {"id": "a"}], "occur more than once: a"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    tmp_path: Path, lines: list[str | bytes | dict[str, Any]], message: str
) -> None:
    file = _write(tmp_path / "test.jsonl", *lines)
    with pytest.raises(DataError) as raised:
        load_local("gsm8k", file, choice_seed=0)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jsonl", "does not exist"),
        ("a.csv", "unknown kind of file"),
        (".", "a folder without"),
    ],
)
def test_a_path_that_is_no_data_says_so(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=message):
        load_local("gsm8k", tmp_path / name, choice_seed=0)


def test_parquet_and_json_lines_of_the_real_columns_give_the_same_questions(
    tmp_path: Path,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [GOOD, GOOD | {"question": "Other?"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    from_parquet = load_local("gsm8k", tmp_path, choice_seed=0)
    from_lines = load_local("gsm8k", _write(tmp_path / "test.jsonl", *rows), choice_seed=0)
    assert from_parquet.questions == from_lines.questions
    assert from_parquet.questions_digest() == from_lines.questions_digest()
    assert from_parquet.source.endswith("test.parquet")


def test_a_broken_parquet_file_is_an_error_of_the_data(tmp_path: Path) -> None:
    file = _write(tmp_path / "test.parquet", "not parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        load_local("gsm8k", file, choice_seed=0)


def test_digests_ignore_order_and_see_content(tmp_path: Path) -> None:
    a, b = GOOD | {"id": "a"}, GOOD | {"id": "b", "question": "Other?"}
    one = load_local("gsm8k", _write(tmp_path / "1.jsonl", a, b), choice_seed=0)
    two = load_local("gsm8k", _write(tmp_path / "2.jsonl", b, a), choice_seed=0)
    new = load_local(
        "gsm8k", _write(tmp_path / "3.jsonl", a, b | {"question": "New?"}), choice_seed=0
    )
    assert one.questions_digest() == two.questions_digest() != new.questions_digest()
    assert one.ids_digest() == new.ids_digest()


def test_more_examples_than_there_are_is_refused(tmp_path: Path) -> None:
    data = load_local("gsm8k", _write(tmp_path / "test.jsonl", GOOD), choice_seed=0)
    assert data.chosen(None, 0) is data
    with pytest.raises(DataError, match=r"examples is 2 but .* has 1 questions"):
        data.chosen(2, 0)


def test_shots_are_the_first_rows_and_there_must_be_enough(tmp_path: Path) -> None:
    rows = [GOOD | {"question": f"q{n}"} for n in range(3)]
    _write(tmp_path / "shots.jsonl", *rows)
    shots = load_shots("gsm8k", tmp_path, 2, choice_seed=0)
    assert [shot.problem for shot in shots] == ["q0", "q1"]
    with pytest.raises(DataError, match=r"few_shot is 4 but .* has 3 worked examples"):
        load_shots("gsm8k", tmp_path, 4, choice_seed=0)


@pytest.mark.parametrize(("benchmark", "least"), [("gsm8k", 60), ("gpqa", 40)])
def test_the_sets_of_the_repository_load(benchmark: str, least: int) -> None:
    folder = REPOSITORY / "experiments" / "data" / f"{benchmark}-mini"
    data = load_local(benchmark, folder, choice_seed=42)
    assert len(data.questions) >= least


def _fake_datasets(
    monkeypatch: pytest.MonkeyPatch, result: list[dict[str, Any]] | Exception
) -> list[tuple[str, str, str]]:
    calls: list[tuple[str, str, str]] = []

    def load_dataset(repository: str, config: str, *, split: str) -> list[dict[str, Any]]:
        calls.append((repository, config, split))
        if isinstance(result, Exception):
            raise result
        return result

    module = types.ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_the_real_gsm8k_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _fake_datasets(monkeypatch, [GOOD])
    data = load_real("gsm8k", choice_seed=0)
    load_shots("gsm8k", None, 1, choice_seed=0)
    assert calls == [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "train")]
    assert (data.source, data.questions[0].expected) == ("openai/gsm8k", "2")


def test_a_gate_that_is_closed_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _fake_datasets(monkeypatch, FileNotFoundError("gated dataset"))
    with pytest.raises(DataError) as raised:
        load_real("gpqa", choice_seed=0)
    assert calls == [("Idavidrein/gpqa", "gpqa_diamond", "train")]
    for word in ("HF_TOKEN", "accept its terms", '"Correct Answer"', "gated dataset"):
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_real_loader_reads_local_parquet_of_the_same_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `datasets` package itself, with the hub's name pointed at a local folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "gsm8k"
    (folder / "main").mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n"
        "    path: main/train-*\n  - split: test\n    path: main/test-*\n---\n"
    )
    for split, count in (("train", 3), ("test", 2)):
        rows = [{**GOOD, "question": f"{split} {n}?"} for n in range(count)]
        file = folder / "main" / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows), file)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    local = hub.RealSet(
        repository=str(folder), config="main", splits={"test": "test", "train": "train"},
        gated=False, columns="",
    )  # fmt: skip
    monkeypatch.setitem(hub.SETS, "gsm8k", local)
    data = load_real("gsm8k", choice_seed=0)
    shots = load_shots("gsm8k", None, 2, choice_seed=0)
    assert [question.problem for question in data.questions] == ["test 0?", "test 1?"]
    assert [shot.problem for shot in shots] == ["train 0?", "train 1?"]


def test_the_real_loader_reads_gpqas_columns_from_local_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPQA as it lies on the hub: all questions in one split called train, many more columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "gpqa"
    folder.mkdir()
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: gpqa_diamond\n  data_files: gpqa_diamond.parquet\n---\n"
    )
    rows = [
        {
            "Pre-Revision Question": "an older text", "Question": f"Which of these is {n}?",
            "Correct Answer": f"right {n}", "Incorrect Answer 1": "one",
            "Incorrect Answer 2": "two", "Incorrect Answer 3": " three ",
            "Explanation": "because", "Record ID": f"rec{n}",
            "Writer's Difficulty Estimate": "Hard graduate level (could be solved by ...)",
            "High-level domain": "Physics", "Extra Revised Question": None,
        }
        for n in range(3)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "gpqa_diamond.parquet")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    local = hub.RealSet(
        repository=str(folder), config="gpqa_diamond", splits={"test": "train"},
        gated=True, columns="",
    )  # fmt: skip
    monkeypatch.setitem(hub.SETS, "gpqa", local)
    data = load_real("gpqa", choice_seed=42)
    again = load_real("gpqa", choice_seed=42)
    assert [one.id for one in data.questions] == ["rec0", "rec1", "rec2"]
    assert data.questions == again.questions  # the order of choices is the seed's alone
    for n, one in enumerate(data.questions):
        assert f"{one.expected}) right {n}" in one.problem
        assert one.level == "Hard graduate level"
    assert any(one.expected != data.questions[0].expected for one in load_real(
        "gpqa", choice_seed=7
    ).questions)  # fmt: skip
