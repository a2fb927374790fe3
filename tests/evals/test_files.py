"""Every separator and control character of Unicode, through every reader and writer of lines."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from evals.accuracy.answer_log import AnswerLog
from evals.accuracy.data import load_local, load_shots
from evals.accuracy.files import ANSWERS, PROTOCOL, BadFileError, read_answers
from evals.accuracy.marking.marker import KINDS
from evals.accuracy.outcome import counted_answers
from evals.accuracy.protocol import prepare
from evals.accuracy.resume import carried, carry_over
from evals.accuracy.settings import AccuracySettings
from evals.accuracy.sgl_eval import read_sgl_eval_run
from evals.files import DataError, read_lines, split_lines
from evals.job import Answer
from evals.latency.outcome import read_run
from evals.logprobs.trails import TRAILS, Trail, load_texts, read_trails
from launchers.fake_engine.answers import AnswerBook
from tests.evals.accuracy.test_grades import answer

SEPARATORS = [
    character
    for character in map(chr, range(0x110000))
    if len(f"a{character}b".splitlines()) > 1
    or unicodedata.category(character) in {"Cc", "Zl", "Zp"}
]
TEXT = "".join(f"{number}{character}" for number, character in enumerate(SEPARATORS))


def _write(file: Path, *rows: object) -> Path:
    """JSON Lines with everything raw that JSON allows raw, as other tools write them."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    file.write_bytes("".join(lines).encode())
    return file


def test_the_separators_are_all_there() -> None:
    assert len(SEPARATORS) == 67  # 65 control characters, U+2028 and U+2029
    assert {"\x85", "\u2028", "\u2029", "\x1c", "\r", "\x0b", "\x00"} <= set(SEPARATORS)


def test_lines_end_at_newline_bytes_and_the_last_may_lack_its_own() -> None:
    assert split_lines("a\u2028b\rc\x85\nd".encode()) == ["a\u2028b\rc\x85".encode(), b"d"]
    assert split_lines(b"a\n\nb\n") == [b"a", b"", b"b"]
    assert split_lines(b"") == []


def test_questions_and_worked_examples(tmp_path: Path) -> None:
    rows = [
        {"question": f"Is it{character}{number}?", "answer": f"{TEXT}\n#### {number}"}
        for number, character in enumerate(SEPARATORS)
    ]
    file = _write(tmp_path / "test.jsonl", *rows)
    found = load_local("gsm8k", file, choice_seed=1).questions
    assert [one.problem for one in found] == [row["question"] for row in rows]
    (shot,) = load_shots("gsm8k", file, 1, choice_seed=1)
    assert shot.solution == f"{TEXT.strip()}\nThe answer is \\boxed{{0}}."
    book = AnswerBook.read((str(file),))
    known = [book.find(f"Solve it. {row['question']}") for row in rows]
    assert [one and one.answer for one in known] == [str(n) for n in range(len(rows))]


def test_a_prompt_with_worked_examples(tmp_path: Path) -> None:
    _write(tmp_path / "test.jsonl", {"question": "Q?", "answer": "#### 1"})
    _write(tmp_path / "shots.jsonl", {"question": f"S{TEXT}?", "answer": "#### 2"})
    settings = AccuracySettings(kind="accuracy", benchmark="gsm8k", data=str(tmp_path), few_shot=1)
    _, path = prepare(settings, tmp_path)
    assert path is not None
    read = yaml.safe_load(path.read_text())  # as sgl-eval reads it
    assert f"Problem:\nS{TEXT}?" in read["user"].format(problem="")


def test_answers_are_logged_read_counted_and_carried_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for cell in (old, new):
        cell.mkdir()
    with AnswerLog(old, kind=KINDS["gsm8k"], total=1, levels={"q": TEXT}) as log:
        log(*_sample(f"{TEXT}\\boxed{{5}}{TEXT}"), 1.0, "5")
    (logged,), cut = read_answers(old / ANSWERS)
    assert (logged.mark, cut) == ("correct", False)
    assert (logged.question, logged.level) == (TEXT, TEXT)
    assert logged.response == f"{TEXT}\\boxed{{5}}{TEXT}"
    assert counted_answers(old) == [logged]
    for cell in (old, new):
        (cell / PROTOCOL).write_text(json.dumps(_protocol()))
    assert carry_over(old, new) == 1
    assert carried(new) == [logged]


def _sample(text: str) -> tuple[Any, int, Any]:
    example = SimpleNamespace(id="q", inputs={"problem": TEXT}, target="5")
    sample = SimpleNamespace(
        text=text,
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        generation_start_time=1.0,
        generation_end_time=2.0,
    )
    return example, 0, sample


def _protocol() -> dict[str, Any]:
    return {
        "benchmark": "gsm8k",
        "source": TEXT,
        "data_sha256": "d",
        "rows": 1,
        "examples": 1,
        "repeats": 1,
        "concurrency": 1,
        "generation": {},
        "few_shot": 0,
        "prompt": TEXT,
        "sgl_eval": "0",
        "grader": "g",
        "ids_digest": "i",
        "questions_digest": "q",
        "protocol_digest": "p",
        "ids": ["q"],
    }


def test_answers_that_another_tool_wrote_raw(tmp_path: Path) -> None:
    row = answer("q", 0, "correct").model_dump() | {"response": TEXT}
    file = _write(tmp_path / ANSWERS, row, row | {"id": TEXT})
    read = read_lines(file, Answer, "answer")
    assert [(one.id, one.response) for one in read] == [("q", TEXT), (TEXT, TEXT)]
    assert read_answers(file)[0] == read


def test_a_line_that_is_cut_or_damaged_is_still_seen(tmp_path: Path) -> None:
    file = _write(tmp_path / ANSWERS, answer("a\u2028", 0, "wrong").model_dump(), {"id": "b"})
    with pytest.raises(DataError, match=r"answers.jsonl:2: is no whole answer line"):
        read_lines(file, Answer, "answer")
    with pytest.raises(BadFileError, match=r"answers.jsonl:2:"):
        read_answers(file)
    file.write_bytes(file.read_bytes()[:-3])
    answers, cut = read_answers(file)
    assert ([one.id for one in answers], cut) == (["a\u2028"], True)


def test_texts_and_trails_of_log_probabilities(tmp_path: Path) -> None:
    texts = [{"id": f"t{number}", "text": f"a{c}b"} for number, c in enumerate(SEPARATORS)]
    read = load_texts(str(_write(tmp_path / "texts.jsonl", *texts)))
    assert [one.text for one in read] == [one["text"] for one in texts]
    trail = Trail(id=TEXT, repeat=0, prefill=[-1.0], tokens=[1], logprobs=[-2.0], top=[[(1, -2.0)]])
    (tmp_path / TRAILS).write_bytes(trail.model_dump_json().encode() + b"\n")
    _write(tmp_path / "raw.jsonl", trail.model_dump())
    assert read_trails(tmp_path / TRAILS) == read_trails(tmp_path / "raw.jsonl") == [trail]


def test_results_of_the_benchmark(tmp_path: Path) -> None:
    real = json.loads(
        (Path(__file__).parent / "latency" / "data" / "serving-h100.jsonl").read_bytes()
    )
    real["generated_texts"] = [TEXT] * len(real["itls"])
    assert read_run(_write(tmp_path / "bench-1.jsonl", real)) == real


def test_samples_of_sgl_evals_own_command(tmp_path: Path) -> None:
    row = {
        "id": "q",
        "generation": f"{TEXT}\\boxed{{5}}",
        "expected_answer": "5",
        "problem": TEXT,
        "predicted_answer": "5",
        "symbolic_correct": True,
        "finish_reason": "stop",
        "num_generated_tokens": 3,
    }
    _write(tmp_path / "output-rs0.jsonl", row)
    metrics = {"name": "gsm8k", "n_repeats": 1, "num_examples": 1, "gen": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (read,) = read_sgl_eval_run(tmp_path).answers
    assert (read.question, read.response) == (TEXT, f"{TEXT}\\boxed{{5}}")
