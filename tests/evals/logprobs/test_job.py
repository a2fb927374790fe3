"""Trails of log-probabilities: read from SGLang's answers, compared over the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.files import DataError
from evals.job import Endpoint
from evals.logprobs.client import trail_of
from evals.logprobs.job import LogprobsJob, LogprobsSettings
from evals.logprobs.trails import TRAILS, Trail, differences, load_texts, read_cell

SETTINGS = LogprobsSettings(kind="logprobs", steps=3, repeats=2)


def trail(tokens: list[int], logprobs: list[float], **changes: Any) -> Trail:
    """Each step's second choice is one nat less likely than the token taken."""
    top = [[(token, lp), (900, lp - 1)] for token, lp in zip(tokens, logprobs, strict=True)]
    made = {"id": "a", "repeat": 0, "prefill": [-1.0], "tokens": tokens, "logprobs": logprobs}
    return Trail.model_validate({**made, "top": top, **changes})


def test_the_texts_that_are_brought() -> None:
    texts = load_texts(None)
    assert len(texts) == 40
    assert texts[0].id == "passage-01"
    assert all(len(text.text.split()) >= 4 for text in texts)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "at least one text"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', "each id once"),
        ('{"id": "a"}\n', ":1: must be one object with id and text"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_of_texts(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        load_texts(str(path))
    asked = SETTINGS.model_copy(update={"data": "texts.jsonl"})
    job = LogprobsJob()
    [problem] = job.check(job.resolve(asked, tmp_path))
    assert said.removeprefix(":1") in problem


def test_the_first_token_is_no_decode_step() -> None:
    one, other = trail([5, 6, 7], [-1.0, -2.0, -3.0]), trail([5, 6, 7], [-1.5, -2.25, -2.0])
    assert differences(one, other) == [0.25, 1.0]


def test_steps_behind_another_token_do_not_count() -> None:
    """The step at which tokens part was still reached over the same ones."""
    one = trail([5, 6, 7, 8], [-1.0, -2.0, -3.0, -4.0])
    parted = trail([5, 900, 7, 8], [-1.0, -1.5, -9.0, -9.0])
    # 6 is not among the likeliest of the other: the least of those stands for it.
    assert differences(one, parted) == [pytest.approx(0.5)]
    listed = trail([5, 900, 7], [-1.0, -1.5, -9.0], top=[[(5, -1.0)], [(6, -1.75)], [(7, -9.0)]])
    assert differences(one, listed) == [0.25]
    assert differences(one, trail([9, 6, 7, 8], [-1.0, -2.0, -3.0, -4.0])) == []


META = {
    "input_token_logprobs": [[None, 1, None], [-0.5, 2, None]],
    "output_token_logprobs": [[-0.1, 7, None], [-0.2, 8, None]],
    "output_top_logprobs": [[[-0.1, 7, None], [-3.0, 9, None]], [[-0.2, 8, None]]],
}


def test_a_trail_from_an_answer_of_sglang() -> None:
    made = trail_of(META, "a", 1, steps=2)
    assert (made.prefill, made.tokens, made.logprobs) == ([-0.5], [7, 8], [-0.1, -0.2])
    assert made.top == [[(7, -0.1), (9, -3.0)], [(8, -0.2)]]
    with pytest.raises(ValueError, match="asked for 3 steps, got 2 tokens"):
        trail_of(META, "a", 1, steps=3)
    broken = {**META, "output_token_logprobs": [[-0.1, 7, None], [float("nan"), 8, None]]}
    with pytest.raises(ValueError, match="no finite log-probability at step 2 of 2"):
        trail_of(broken, "a", 1, steps=2)


def write(cell: Path, trails: list[Trail]) -> None:
    lines = "".join(one.model_dump_json() + "\n" for one in trails)
    (cell / TRAILS).write_text(lines, encoding="utf-8")


def outcome(cell: Path, returncode: int = 0) -> Any:
    texts = load_texts(None)[:2]
    return read_cell(cell, returncode, texts=texts, repeats=2, settings=SETTINGS.model_dump())


def asked(noise: float = 0.0) -> list[Trail]:
    return [
        trail([5, 6], [-1.0, -2.0 - noise * repeat], id=text.id, repeat=repeat)
        for text in load_texts(None)[:2]
        for repeat in (0, 1)
    ]


def test_a_whole_cell(tmp_path: Path) -> None:
    write(tmp_path, asked(noise=0.125))
    found = outcome(tmp_path)
    assert (found.status, found.metrics) == ("ok", {"logprob_noise": 0.125})
    assert found.counts == {"texts": 2, "asked": 4, "positions": 4}
    assert found.details["largest_noise"] == 0.125


@pytest.mark.parametrize("lost", ["line", "half a line", "file", "code", "twice"])
def test_anything_missing_is_no_result(lost: str, tmp_path: Path) -> None:
    trails = asked()
    kept = {"line": trails[:-1], "twice": [*trails, trails[0]]}
    write(tmp_path, kept.get(lost, trails))
    path = tmp_path / TRAILS
    if lost == "half a line":
        path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    elif lost == "file":
        path.unlink()
    found = outcome(tmp_path, returncode=3 if lost == "code" else 0)
    assert (found.status, found.failure_class) == ("failed", "incomplete")
    assert found.metrics == {}


def test_what_the_client_noted_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "failure.json").write_text(json.dumps({"class": "errors", "reason": "HTTP 500"}))
    found = outcome(tmp_path, returncode=3)
    assert (found.status, found.failure_class, found.reason) == ("invalid", "errors", "HTTP 500")


def test_the_command(tmp_path: Path) -> None:
    endpoint = Endpoint(
        base_url="http://h:1", model="m", tokenizer="t", engine="sglang", python="/engine/python"
    )
    argv = LogprobsJob().argv(SETTINGS, endpoint, tmp_path)
    assert argv[1:6] == ["-P", "-m", "evals.logprobs.client", "--base-url", "http://h:1"]
    assert LogprobsSettings.model_validate_json(argv[7]) == SETTINGS
