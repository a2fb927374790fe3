import json
import time
from typing import Any

import pytest
import requests

from launchers.server.failures import FailureClass
from launchers.server.health import ServerExited, ServerNotReady
from launchers.server.launch import Server
from launchers.server.process import log_tail
from tests.launchers.fake_engine.conftest import Serve
from tests.launchers.fake_engine.test_server import generate
from tests.launchers.server.test_process import until

QUICK = {"ttft_ms": 0, "itl_ms": 0}


def fault(kind: str, **told: object) -> dict[str, Any]:
    return {**QUICK, "faults": [{"kind": kind, **told}]}


def status(server: Server, tokens: int = 2) -> int:
    return generate(server, tokens).status_code


@pytest.mark.parametrize(
    ("told", "code", "expected"),
    [
        (fault("crash_at_start", exit_code=9), 9, FailureClass.CRASH),
        (fault("crash_at_start", message="CUDA out of memory"), 1, FailureClass.OOM),
        (fault("port_in_use"), 1, FailureClass.PORT),
        ({"answers_file": ["/nowhere"]}, 2, FailureClass.CRASH),
    ],
)
def test_a_failed_start_has_its_code_and_class(
    serve: Serve, told: dict[str, Any], code: int, expected: FailureClass
) -> None:
    with pytest.raises(ServerExited, match=f"exit code {code}") as got, serve(told):
        pytest.fail("not reached")
    assert got.value.failure_class is expected


def test_arguments_that_sglang_refuses_are_a_usage_error(serve: Serve) -> None:
    with pytest.raises(ServerExited, match="exit code 2") as got, serve({}, "--tp-size", "two"):
        pytest.fail("not reached")
    assert got.value.failure_class is FailureClass.USAGE


def test_it_starts_slowly_and_then_answers_503(serve: Serve) -> None:
    began = time.monotonic()
    told = {**fault("slow_start", seconds=0.4), "ready_after_s": 0.4}
    with serve(told) as server:
        assert time.monotonic() - began >= 0.8
        assert status(server) == 200


def test_it_crashes_after_so_many_requests(serve: Serve) -> None:
    with serve(fault("crash_after", after_requests=2, exit_code=5)) as server:
        assert [status(server), status(server)] == [200, 200]
        with pytest.raises(requests.ConnectionError):
            status(server)
        until(lambda: server.process.poll() is not None)
        with pytest.raises(ServerExited, match="exit code 5"):
            server.check_alive()


def test_it_crashes_at_a_time(serve: Serve) -> None:
    with serve(fault("crash_after", at_s=0.5)) as server:
        until(lambda: server.process.poll() is not None)


def test_a_hung_server_answers_nothing_not_even_health(serve: Serve) -> None:
    with serve(fault("hang", after_requests=1)) as server:
        assert status(server) == 200
        for path in ("/generate", "/health", "/server_info"):
            with pytest.raises(requests.ReadTimeout):
                requests.request(
                    "POST" if path == "/generate" else "GET",
                    server.base_url + path,
                    json={"text": "x", "sampling_params": {"max_new_tokens": 2}},
                    timeout=0.3,
                )
        server.check_alive()
    assert server.stopped is not None
    assert not server.stopped.killed


def test_a_hang_stops_streams_midway(serve: Serve) -> None:
    told = {"ttft_ms": 0, "itl_ms": 100, "faults": [{"kind": "hang", "at_s": 0.6}]}
    with serve(told) as server:
        body = {
            "text": "x",
            "stream": True,
            "sampling_params": {"max_new_tokens": 100, "ignore_eos": True},
        }
        with requests.post(
            f"{server.base_url}/generate", json=body, stream=True, timeout=1
        ) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines).removeprefix(b"data: "))["text"]
            with pytest.raises(requests.ConnectionError, match="timed out"):
                list(lines)


def test_a_scheduler_exception_is_logged_and_the_process_lives_on(serve: Serve) -> None:
    with serve(fault("log_scheduler_exception", at_s=0.3)) as server:
        until(lambda: any("hit an exception" in line for line in log_tail(server.process.log)))
        assert server.process.poll() is None
        with pytest.raises(ServerNotReady, match="Scheduler hit an exception"):
            server.check_alive()


def test_every_third_request_fails_but_no_probe(serve: Serve) -> None:
    with serve(fault("http_500_every", every=3, after_requests=1)) as server:
        assert [status(server, 1) for _ in range(3)] == [200] * 3
        assert [status(server) for _ in range(7)] == [200, 200, 200, 500, 200, 200, 500]


@pytest.mark.parametrize(("kind", "tokens"), [("empty_output", 1), ("zero_tokens", 0)])
def test_outputs_can_be_empty(serve: Serve, kind: str, tokens: int) -> None:
    with serve(fault(kind, after_requests=1)) as server:
        assert generate(server, 3).json()["text"]
        made = generate(server, 3).json()
        assert made["text"] == ""
        assert made["meta_info"]["completion_tokens"] == tokens
        chat = requests.post(
            f"{server.base_url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "x"}]},
            timeout=5,
        ).json()
        assert chat["choices"][0]["message"]["content"] == ""
        assert chat["usage"]["completion_tokens"] == tokens
