"""The client process, whole, against a server whose replies each test decides."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from evals import JOBS
from evals.accuracy.client import main
from evals.accuracy.files import ANSWERS, FAILURE, PROMPT, PROTOCOL, read_answers
from evals.accuracy.job import AccuracySettings
from evals.accuracy.marking.marker import CORRECTIONS
from evals.job import Endpoint, Outcome
from tests.evals.accuracy.chat_server import Reply, chat_server

JOB = JOBS["accuracy"]


def _endpoint(base_url: str) -> Endpoint:
    return Endpoint(base_url=base_url, model="m", tokenizer="t", engine="fake", python="python")


def _gsm8k(folder: Path, count: int) -> Path:
    file = folder / "test.jsonl"
    rows = [
        {"question": f"What is {n} + 1?", "answer": f"{n} + 1 = <<{n}+1={n + 1}>>\n#### {n + 1}"}
        for n in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _settings(**changes: object) -> AccuracySettings:
    given = {"kind": "accuracy", "benchmark": "gsm8k", "concurrency": 4, "retries": 0}
    return AccuracySettings.model_validate(given | changes)


def _start(settings: AccuracySettings, base_url: str, cell: Path) -> subprocess.Popen[bytes]:
    cell.mkdir()
    with (cell / "job.log").open("wb") as log:
        return subprocess.Popen(
            JOB.argv(settings, _endpoint(base_url), cell),
            env={**os.environ, **JOB.env(settings, _endpoint(base_url))},
            stdout=log,
            stderr=log,
        )


def _run(settings: AccuracySettings, base_url: str, cell: Path) -> Outcome:
    """The client in this process, which has sgl-eval loaded once for all tests."""
    cell.mkdir()
    argv = JOB.argv(settings, _endpoint(base_url), cell)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        returncode = main(argv[argv.index("evals.accuracy.client") + 1 :])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return JOB.read(settings, cell, returncode)


def _number(body: dict[str, Any]) -> int:
    found = re.search(r"What is (\d+) \+ 1", body["messages"][-1]["content"])
    assert found is not None
    return int(found.group(1))


def test_each_reply_gets_its_own_mark_and_the_score_is_sgl_evals(tmp_path: Path) -> None:
    replies = {
        0: Reply("It is \\boxed{1}."),
        1: Reply("It is \\boxed{9}."),
        2: Reply("I do not know."),
        3: Reply("It goes on and on", "length"),
        4: Reply("Surely \\boxed{5} and then", "length"),
    }
    settings = _settings(data=str(_gsm8k(tmp_path, 5)), temperature=0.6, repeats=2, top_k=20)
    with chat_server(lambda _, body: replies[_number(body)]) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    assert outcome.status == "ok", outcome.reason
    answers, _ = read_answers(tmp_path / "cell" / ANSWERS)
    marks = {(a.id, a.repeat): a.mark for a in answers}
    expected = ["correct", "wrong", "no_answer", "truncated", "correct"]
    assert marks == {(f"gsm8k-{n}", k): m for n, m in enumerate(expected) for k in (0, 1)}
    assert outcome.metrics == {
        "score": pytest.approx(0.4),
        "no_answer_rate": pytest.approx(0.2),
        "truncated_rate": pytest.approx(0.2),
        "error_rate": 0.0,
    }
    aggregate = outcome.details["sgl_eval_aggregate"]
    assert outcome.metrics["score"] == pytest.approx(aggregate["pass@1"], abs=1e-12)
    assert outcome.counts["examples"] == 5
    assert outcome.counts["samples"] == 10
    assert answers[0].prompt_tokens == 11
    assert answers[0].completion_tokens == 7
    progress = JOB.progress(settings, tmp_path / "cell")
    assert (progress.done, progress.total, progress.note) == (10, 10, "40.0% correct")


def test_what_is_sent_is_what_the_settings_say(tmp_path: Path) -> None:
    settings = _settings(
        data=str(_gsm8k(tmp_path, 1)),
        temperature=0.6,
        top_p=0.95,
        top_k=20,
        min_p=0.1,
        max_tokens=77,
        stop=["Question:"],
        seed=5,
        system="Be brief.",
        chat_template_kwargs={"enable_thinking": True},
    )
    with chat_server(lambda *_: Reply("\\boxed{1}")) as server:
        assert _run(settings, server.base_url, tmp_path / "cell").status == "ok"
    (body,) = server.requests
    assert {key: body[key] for key in body if key != "messages"} == {
        "model": "m",
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "min_p": 0.1,
        "repetition_penalty": 1.0,
        "max_tokens": 77,
        "stop": ["Question:"],
        "seed": 5,
        "chat_template_kwargs": {"enable_thinking": True},
    }
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["messages"][1]["content"] == (
        "Solve the following math problem. Make sure to put the answer (and only answer) inside "
        "\\boxed{}.\n\nWhat is 0 + 1?"
    )


def test_worked_examples_reach_the_server_with_boxed_answers(tmp_path: Path) -> None:
    data = _gsm8k(tmp_path, 1)
    (tmp_path / "shots.jsonl").write_text(
        json.dumps({"question": "Set {1}?", "answer": "So <<1+1=2>>2.\n#### 2"}) + "\n"
    )
    settings = _settings(data=str(data), few_shot=1, prompt="question-answer")
    with chat_server(lambda *_: Reply("\\boxed{1}")) as server:
        assert _run(settings, server.base_url, tmp_path / "cell").status == "ok"
    text = server.requests[0]["messages"][0]["content"]
    assert "Question: Set {1}?\nAnswer: So 2.\nThe answer is \\boxed{2}.\n\n" in text
    assert text.endswith("Question: What is 0 + 1?\nAnswer:")
    assert (tmp_path / "cell" / PROMPT).is_file()


def test_a_completion_sends_the_prompt_as_it_stands(tmp_path: Path) -> None:
    settings = _settings(
        data=str(_gsm8k(tmp_path, 1)), api="completion", system="Be brief.", max_tokens=9
    )
    with chat_server(lambda *_: Reply("\\boxed{1}")) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    (body,) = server.requests
    assert "messages" not in body
    assert body["prompt"].startswith("Be brief.\n\nSolve the following math problem.")
    assert body["prompt"].endswith("What is 0 + 1?")
    assert body["max_tokens"] == 9
    assert (outcome.status, outcome.metrics["score"]) == ("ok", 1.0)
    (answer,) = read_answers(tmp_path / "cell" / ANSWERS)[0]
    assert (answer.response, answer.completion_tokens) == ("\\boxed{1}", 7)
    # Another way of asking: not to be compared with a chat.
    chat = _settings(data=str(_gsm8k(tmp_path, 1)), system="Be brief.", max_tokens=9)
    with chat_server(lambda *_: Reply("\\boxed{1}")) as server:
        other = _run(chat, server.base_url, tmp_path / "other")
    assert other.details["protocol_digest"] != outcome.details["protocol_digest"]


def test_a_completion_has_no_chat_template(tmp_path: Path) -> None:
    settings = _settings(
        data=str(_gsm8k(tmp_path, 1)), api="completion", chat_template_kwargs={"thinking": True}
    )
    [problem] = JOB.check(settings)
    assert problem.startswith("chat_template_kwargs: a completion has no chat template")


def test_gpqa_is_marked_by_letter(tmp_path: Path) -> None:
    row = {"Question": "Which?", "Correct Answer": "right", "Record ID": "rec1"}
    row |= {f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)}
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")

    def reply(_: int, body: dict[str, Any]) -> Reply:
        found = re.search(r"([A-D])\) right", body["messages"][0]["content"])
        assert found is not None
        return Reply(f"Thinking.\nAnswer: {found.group(1)}")

    settings = _settings(benchmark="gpqa", data=str(tmp_path))
    with chat_server(reply) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    assert outcome.metrics["score"] == 1.0
    (answer,) = read_answers(tmp_path / "cell" / ANSWERS)[0]
    assert answer.id == "rec1"
    assert answer.extracted == answer.expected
    assert f"{answer.expected}) right" in answer.question


def test_answers_are_marked_by_servegates_marker_and_say_how_they_were_read(
    tmp_path: Path,
) -> None:
    replies = {
        0: "It is \\boxed{1\u2009\\text{pen}}.",
        1: "It is \\boxed{2}\n\nQuestion: What is 7 + 1?\nAnswer: \\boxed{8}",
        2: "It is \\boxed{}.",
    }
    settings = _settings(data=str(_gsm8k(tmp_path, 3)))
    with chat_server(lambda _, body: Reply(replies[_number(body)])) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    found = {a.id: a for a in read_answers(tmp_path / "cell" / ANSWERS)[0]}
    assert [found[f"gsm8k-{n}"].mark for n in range(3)] == ["correct", "correct", "no_answer"]
    assert found["gsm8k-1"].note == "read up to the model's own next question"
    assert found["gsm8k-1"].response == replies[1]
    assert found["gsm8k-0"].note is None
    assert outcome.details["sgl_eval_aggregate"]["score"] == pytest.approx(2 / 3)


def test_a_failed_request_is_an_error_not_a_wrong_answer(tmp_path: Path) -> None:
    def reply(_: int, body: dict[str, Any]) -> Reply:
        number = _number(body)
        return Reply(status=500) if number == 3 else Reply(f"\\boxed{{{number + 1}}}")

    data = str(_gsm8k(tmp_path, 5))
    with chat_server(reply) as server:
        strict = _run(_settings(data=data), server.base_url, tmp_path / "strict")
        lenient = _run(
            _settings(data=data, max_error_rate=0.2), server.base_url, tmp_path / "lenient"
        )
    assert (strict.status, strict.failure_class) == ("invalid", "errors")
    assert strict.counts["errors"] == 1
    assert strict.counts["wrong"] == 0
    assert lenient.status == "ok"
    assert lenient.metrics["score"] == 1.0
    assert lenient.metrics["error_rate"] == 0.2


def test_a_retry_asks_again(tmp_path: Path) -> None:
    settings = _settings(data=str(_gsm8k(tmp_path, 1)), retries=1)
    with chat_server(lambda n, _: Reply("\\boxed{1}") if n else Reply(status=500)) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    assert outcome.status == "ok"
    assert len(server.requests) == 2


def test_a_server_that_dies_ends_the_job_and_keeps_what_was_answered(tmp_path: Path) -> None:
    settings = _settings(data=str(_gsm8k(tmp_path, 300)), retries=1)
    with chat_server(lambda *_: Reply(status=0) if dead else Reply("\\boxed{1}")) as server:
        dead = False
        process = _start(settings, server.base_url, tmp_path / "cell")
        try:
            while len(server.requests) < 20:
                time.sleep(0.01)
            dead = True
            server.stop()
            returncode = process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
    outcome = JOB.read(settings, tmp_path / "cell", returncode)
    assert returncode == 3
    assert (outcome.status, outcome.failure_class) == ("invalid", "server-dead")
    assert "no longer accepts connections" in outcome.reason
    assert outcome.counts["samples"] + outcome.counts["missing"] == 300
    assert 0 < outcome.counts["samples"] < 300


def test_no_server_at_all_is_a_failure_with_its_address(tmp_path: Path) -> None:
    settings = _settings(data=str(_gsm8k(tmp_path, 30)))
    with chat_server(lambda *_: Reply()) as server:
        url = server.base_url
    returncode = _start(settings, url, tmp_path / "cell").wait(timeout=60)
    outcome = JOB.read(settings, tmp_path / "cell", returncode)
    assert returncode == 3
    assert (outcome.status, outcome.failure_class) == ("failed", "server-dead")
    assert url in outcome.reason


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once_with_whole_lines_on_disk(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    def reply(count: int, _: dict[str, Any]) -> Reply:
        if count >= 10:
            time.sleep(5)
        return Reply("x" * 20000)

    settings = _settings(data=str(_gsm8k(tmp_path, 100)))
    with chat_server(reply) as server:
        process = _start(settings, server.base_url, tmp_path / "cell")
        try:
            while JOB.progress(settings, tmp_path / "cell").done < 1:
                time.sleep(0.01)
                assert process.poll() is None
            process.send_signal(number)
            assert process.wait(timeout=5) == code
        finally:
            process.kill()
            process.wait()
    answers, cut = read_answers(tmp_path / "cell" / ANSWERS)
    assert answers
    assert not cut
    outcome = JOB.read(settings, tmp_path / "cell", code)
    assert (outcome.status, outcome.failure_class) == ("invalid", "incomplete")


def test_two_cells_of_one_protocol_have_one_digest_and_a_changed_one_another(
    tmp_path: Path,
) -> None:
    data = str(_gsm8k(tmp_path, 3))
    with chat_server(lambda *_: Reply("\\boxed{1}")) as server:
        first = _run(_settings(data=data), server.base_url, tmp_path / "a").details
        second = _run(_settings(data=data), server.base_url, tmp_path / "b").details
        warmer = _run(_settings(data=data, temperature=0.1), server.base_url, tmp_path / "c")
    assert first["protocol_digest"] == second["protocol_digest"]
    assert first["ids_digest"] == warmer.details["ids_digest"]
    assert first["protocol_digest"] != warmer.details["protocol_digest"]
    assert first["grader"].startswith("servegate marker 2 over NVIDIA/NeMo-Skills@645cf567")
    assert first["corrections"] == list(CORRECTIONS)


def test_data_that_cannot_be_loaded_asks_nothing(tmp_path: Path) -> None:
    settings = _settings(data=str(tmp_path / "nothing.jsonl"))
    with chat_server(lambda *_: Reply()) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    assert (outcome.status, outcome.failure_class) == ("failed", "bad-data")
    assert "nothing.jsonl does not exist" in outcome.reason
    assert server.requests == []


def test_answers_that_are_there_are_never_overwritten(tmp_path: Path) -> None:
    settings = _settings(data=str(_gsm8k(tmp_path, 2)))
    with chat_server(lambda *_: Reply("\\boxed{1}")) as server:
        assert _run(settings, server.base_url, tmp_path / "cell").status == "ok"
        before = {file.name: file.read_bytes() for file in (tmp_path / "cell").iterdir()}
        argv = JOB.argv(settings, _endpoint(server.base_url), tmp_path / "cell")
        again = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert again.returncode == 2
    assert b"already there" in again.stderr
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "cell").iterdir()}
    assert not (tmp_path / "cell" / FAILURE).exists()
    assert json.loads((tmp_path / "cell" / PROTOCOL).read_text())["examples"] == 2


def test_any_benchmark_of_sgl_eval_runs_on_its_own_data_and_prompt(tmp_path: Path) -> None:
    settings = _settings(benchmark="aime25", examples=3)  # aime25 ships inside sgl-eval
    assert JOB.check(settings) == []
    with chat_server(lambda *_: Reply("I would say \\boxed{-1}.")) as server:
        outcome = _run(settings, server.base_url, tmp_path / "cell")
    assert outcome.status == "ok", outcome.reason
    assert outcome.counts["wrong"] == 3
    assert outcome.details["rows"] == 30
    assert outcome.details["prompt"] == "sgl-eval's own"
    assert "\\boxed" in server.requests[0]["messages"][0]["content"]
