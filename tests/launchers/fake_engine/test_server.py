import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import requests

from launchers.server.launch import Server
from tests.launchers.fake_engine.conftest import Serve


def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="EMPTY", max_retries=0)


def generate(server: Server, tokens: int, **body: object) -> requests.Response:
    return requests.post(
        f"{server.base_url}/generate",
        json={
            "text": "one two three",
            "sampling_params": {"max_new_tokens": tokens, "ignore_eos": True},
            **body,
        },
        timeout=20,
    )


def events(server: Server, tokens: int) -> list[dict[str, Any]]:
    lines = [line for line in generate(server, tokens, stream=True).iter_lines() if line]
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]


def test_it_tells_what_sglang_tells(plain: Server) -> None:
    info = plain.server_info()
    assert info["version"].startswith("fake-")
    assert (info["tp_size"], info["attn_dp_size"], info["x"]) == (4, 2, 1)
    assert [state["attn_dp_size"] for state in info["internal_states"]] == [2, 2]
    assert info["fake"]["itl_ms"] == 20
    assert info["port"] == plain.port
    assert [model.id for model in client(plain).models.list()] == ["fake"]
    for path in ("/get_server_info", "/model_info", "/get_model_info", "/health_generate"):
        assert requests.get(plain.base_url + path, timeout=5).status_code == 200, path
    model = requests.get(f"{plain.base_url}/model_info", timeout=5).json()
    assert (model["model_path"], model["served_model_name"]) == ("org/model", "fake")
    for path in ("/flush_cache?timeout=30", "/start_profile", "/stop_profile"):
        assert requests.post(plain.base_url + path, json={}, timeout=5).status_code == 200


def test_generate_streams_the_text_so_far_on_schedule(plain: Server) -> None:
    began = time.monotonic()
    lines = generate(plain, 5, stream=True).iter_lines(chunk_size=1)
    arrived = [time.monotonic() - began for line in lines if b"meta_info" in line]
    assert len(arrived) == 5
    # Only that none is early: how late they are is the machine's affair.
    assert all(at >= 0.060 + 0.020 * k for k, at in enumerate(arrived))
    got = events(plain, 5)
    assert [event["meta_info"]["completion_tokens"] for event in got] == [1, 2, 3, 4, 5]
    assert all(late["text"].startswith(early["text"]) for early, late in pairwise(got))
    assert [len(event["output_ids"]) for event in got] == [1, 2, 3, 4, 5]
    assert [event["meta_info"]["finish_reason"] for event in got[:4]] == [None] * 4
    assert got[4]["meta_info"]["finish_reason"] == {"type": "length", "length": 5}
    assert got[4]["meta_info"]["prompt_tokens"] == 3


def test_incremental_streaming_has_only_what_is_new(serve: Serve, plain: Server) -> None:
    whole = generate(plain, 5).json()["text"]
    with serve({"ttft_ms": 0, "itl_ms": 0}, "--incremental-streaming-output") as server:
        got = events(server, 5)
    assert "".join(event["text"] for event in got) == whole
    assert [len(event["output_ids"]) for event in got] == [1] * 5


def test_generate_takes_ids_and_batches(plain: Server) -> None:
    body = {"input_ids": [[1, 2], [3]], "sampling_params": {"max_new_tokens": 2}}
    answers = requests.post(f"{plain.base_url}/generate", json=body, timeout=5).json()
    assert [one["meta_info"]["prompt_tokens"] for one in answers] == [2, 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "text or input_ids is needed"),
        ('{"text": "x", "sampling_params": {"max_new_tokens": "5"}}', "max_new_tokens must be"),
        ('{"text": ["x", "y"], "stream": true}', "streams one prompt"),
    ],
)
def test_a_wrong_request_is_refused(plain: Server, body: str, message: str) -> None:
    answer = requests.post(f"{plain.base_url}/generate", data=body, timeout=5)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_the_openai_client_sees_a_wrong_request_as_such(plain: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="max_tokens must be"):
        client(plain).chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "?"}], max_tokens=0
        )


def test_chat_answers_known_questions(plain: Server) -> None:
    chat = client(plain).chat.completions
    asked: Any = [{"role": "user", "content": "Solve.\n\nWhat is 21 and 21?"}]
    answer = chat.create(model="fake", messages=asked, max_tokens=100)
    assert answer.choices[0].message.content == "The answer is \\boxed{42}."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    cut = chat.create(model="fake", messages=asked, max_tokens=2)
    assert cut.choices[0].message.content == "The answer"
    assert cut.choices[0].finish_reason == "length"


def test_chat_streams(plain: Server) -> None:
    asked: Any = [{"role": "user", "content": [{"type": "text", "text": "What is 4 and 4?"}]}]
    options: Any = {"include_usage": True}
    parts = list(
        client(plain).chat.completions.create(
            model="fake", messages=asked, stream=True, stream_options=options
        )
    )
    deltas = [part.choices[0].delta.content for part in parts if part.choices]
    assert "".join(delta for delta in deltas if delta) == "The answer is \\boxed{8}."
    assert parts[-2].choices[0].finish_reason == "stop"
    assert parts[-1].usage is not None
    assert parts[-1].usage.completion_tokens == 4


def test_completions_answer_as_well(plain: Server) -> None:
    plainly = client(plain).completions.create(model="fake", prompt="What is 3 and 3?")
    assert plainly.choices[0].text == "The answer is \\boxed{6}."


def test_sgl_evals_sampler_gets_its_sample(plain: Server) -> None:
    from sgl_eval.sampler import ChatCompletionSampler
    from sgl_eval.types import GenConfig

    sampler = ChatCompletionSampler(base_url=f"{plain.base_url}/v1")
    sample = sampler(
        [{"role": "user", "content": "What is 5 and 5?"}], GenConfig(max_tokens=64, temperature=0.0)
    )
    sampler.abort()
    assert sampler.model == "fake"
    assert (sample.text, sample.finish_reason) == ("The answer is \\boxed{10}.", "stop")
    assert sample.completion_tokens == 4


def test_rambling_goes_on_until_the_limit(serve: Serve, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"problem": "Why?", "expected_answer": "1"}\n')
    with serve({"truncate_rate": 1.0, "answers_file": [str(questions)]}) as server:
        answer = client(server).chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "Why?"}], max_tokens=50
        )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 50


def test_many_streams_at_once_are_all_served(plain: Server) -> None:
    async def ask(session: aiohttp.ClientSession) -> int:
        body = {
            "text": "x",
            "stream": True,
            "sampling_params": {"max_new_tokens": 20, "ignore_eos": True},
        }
        async with session.post(f"{plain.base_url}/generate", json=body) as answer:
            return (await answer.read()).count(b"completion_tokens")

    async def ask_all() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(ask(session) for _ in range(128)))

    assert asyncio.run(ask_all()) == [20] * 128
