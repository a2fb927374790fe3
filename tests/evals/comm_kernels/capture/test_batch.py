"""A batch that decodes: counted from a moment on, ended early, and not waited for in vain."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from evals.comm_kernels.capture import batch as batch_module
from evals.comm_kernels.capture.batch import Batch, NoDecode, decoding
from evals.comm_kernels.job import CommKernelsJob
from evals.comm_kernels.settings import CommKernelsSettings

_PACE_S = 0.005


class Server(ThreadingHTTPServer):
    """Streams a token every 5 ms; knows /abort_request, and counts what it generated."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens = 0
        self.aborted = threading.Event()
        self.status = 200
        self.error = b""
        self.stalled = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        self.end_headers()
        if self.path == "/abort_request":
            assert asked == {"abort_all": True}
            self.server.aborted.set()
            return
        if self.server.error:
            self.wfile.write(self.server.error)
            return
        for _ in range(asked["sampling_params"]["max_new_tokens"]):
            while self.server.stalled.is_set():
                time.sleep(_PACE_S)
            if self.server.aborted.is_set():
                break
            self.wfile.write(b'data: {"text": "x"}\n\n')
            self.server.tokens += 1
            time.sleep(_PACE_S)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def settings(output_len: int, timeout_s: float = 20) -> CommKernelsSettings:
    return CommKernelsSettings(
        kind="comm-kernels", concurrency=3, input_len=4, output_len=output_len, layers=1,
        trace_timeout_s=timeout_s, deadline_s=60,
    )  # fmt: skip


def test_a_batch_is_ended_long_before_its_last_token(server: Server) -> None:
    with decoding(url(server), settings(100_000)) as batch:
        before = server.tokens
        batch.wait_steps(20)
        assert server.tokens - before >= 20
        batch.end()
        after = server.tokens
        time.sleep(10 * _PACE_S)
        assert server.tokens == after
    assert server.aborted.is_set()


def test_steps_are_counted_from_when_they_are_asked_for(server: Server) -> None:
    with decoding(url(server), settings(60)) as batch:
        batch.wait_steps(20)
        with pytest.raises(NoDecode, match=r"ended \d+ steps after .* raise output_len .now 60"):
            batch.wait_steps(50)


def test_a_batch_runs_to_its_end_where_nobody_ends_it(server: Server) -> None:
    with decoding(url(server), settings(8)):
        pass
    assert server.tokens == 3 * 8


def test_what_fails_meanwhile_does_not_wait_for_the_answers(server: Server) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="of a tracer"), decoding(url(server), settings(100_000)):
        raise ValueError("of a tracer")
    assert time.monotonic() - began < 20


def test_an_error_of_the_server_is_no_decode(server: Server) -> None:
    server.status, server.error = 500, b"out of memory"
    with (
        pytest.raises(requests.HTTPError, match="answered HTTP 500: out of memory"),
        decoding(url(server), settings(8)),
    ):
        pytest.fail("nothing decodes")


def test_an_answer_too_long_for_the_model_says_so_and_not_to_make_it_longer(server: Server) -> None:
    # As SGLang 0.5.16 and 0.5.23 refuse it once the stream is open.
    server.error = b'data: {"error":{"message":"Requested token count exceeds 2048"}}\n\n'
    said = r"4 tokens in and 2048 out .*exceeds 2048"
    with pytest.raises(requests.HTTPError, match=said), decoding(url(server), settings(2048)):
        pytest.fail("nothing decodes")


def test_answers_that_do_not_end_are_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_END_S", 0.05)
    with decoding(url(server), settings(100_000)) as batch:
        server.stalled.set()
        with pytest.raises(NoDecode, match=r"went on for 0.05 s after it was ended"):
            batch.end()
        server.stalled.clear()


def test_a_server_that_stalls(server: Server) -> None:
    batch = Batch(url(server), settings(8, timeout_s=0.2))
    with pytest.raises(NoDecode, match=r"only 0 of 5 tokens came within 0.2 s"):
        batch.wait_steps(5)


def test_under_nsys_answers_outlast_its_start_unless_something_else_is_said() -> None:
    job = CommKernelsJob()
    assert job.defaults("kernels", {"kind": "comm-kernels"}) == {
        "launches": 1, "kind": "comm-kernels"
    }  # fmt: skip
    assert job.defaults("kernels", {"capture": "nsys"})["output_len"] == 2048
    assert job.defaults("kernels", {"capture": "nsys", "output_len": 300})["output_len"] == 300
