"""A batch of requests that decode together, counted and ended by whoever traces it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import requests

from evals.client import session
from evals.comm_kernels.settings import CommKernelsSettings

__all__ = ["Batch", "NoDecode", "decoding"]

_FIRST_TOKEN = 3  # an ordinary token; which one does not matter
_END_S = 30.0
# A request that SGLang refuses once its stream is open, such as one that is too long for the model,
# ends with an event instead of a status (0.5.16 and 0.5.23: srt/entrypoints/http_server.py).
_ERROR = b'data: {"error"'


class NoDecode(RuntimeError):
    """The batch did not decode for as long as it was needed; the class of such a failure."""

    failure_class = "no-decode"


class Batch:
    """The requests of a job, all of them past their first token."""

    def __init__(self, base_url: str, settings: CommKernelsSettings) -> None:
        self._base_url = base_url
        self._settings = settings
        self._begun = threading.Semaphore(0)
        self._more = threading.Condition()
        self._tokens = 0
        self._over = False
        self._ended = threading.Event()
        self._streams: list[Future[None]] = []

    def send(self, pool: ThreadPoolExecutor) -> None:
        """Send all requests and wait until each has its first token.

        Raises:
            NoDecode: They never came to decode together.
            requests.RequestException: One of them failed.
        """
        count = self._settings.concurrency
        self._streams = [pool.submit(self._stream, number) for number in range(count)]
        for _ in self._streams:
            if not self._begun.acquire(timeout=self._settings.trace_timeout_s):
                raise NoDecode("the batch never came to decode together")
        self._raise_failed()

    def wait_steps(self, wanted: int) -> None:
        """Wait for so many steps from now on, one token of the first request each.

        Raises:
            NoDecode: The answers ended before, or nothing came for too long.
            requests.RequestException: A request failed meanwhile.
        """
        timeout_s = self._settings.trace_timeout_s
        with self._more:
            first = self._tokens
            done = self._more.wait_for(
                lambda: self._over or self._tokens >= first + wanted, timeout_s
            )
            seen = self._tokens - first
        self._raise_failed()
        if not done:
            raise NoDecode(f"only {seen} of {wanted} tokens came within {timeout_s:g} s")
        if seen < wanted:
            raise NoDecode(
                f"the answers ended {seen} steps after tracing had begun, at their token {first}; "
                f"{wanted} are wanted: raise output_len (now {self._settings.output_len})"
            )

    def leave(self) -> None:
        """Close every connection at its next token."""
        self._ended.set()

    def end(self) -> None:
        """End what still decodes, and wait for it.

        Raises:
            NoDecode: It goes on.
            requests.RequestException: A request had failed before.
        """
        self.leave()
        try:
            with session() as http:
                http.post(
                    f"{self._base_url}/abort_request", json={"abort_all": True}, timeout=(10, 30)
                )
        except requests.RequestException:
            pass  # closed connections end requests as well, two seconds later
        self.wait(_END_S)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the ends of all answers.

        Raises:
            NoDecode: One goes on after so long.
            requests.RequestException: A request failed.
        """
        try:
            for stream in self._streams:
                stream.result(timeout_s)
        except TimeoutError as error:
            raise NoDecode(
                f"an answer went on for {timeout_s:g} s after it was ended; the server's log says "
                "what it does"
            ) from error

    def _raise_failed(self) -> None:
        """What a request failed with says more than that there are no tokens of it."""
        for stream in self._streams:
            if stream.done():
                stream.result()

    def _stream(self, number: int) -> None:
        """One request, until its end or that of the batch."""
        settings = self._settings
        body = {
            "input_ids": [_FIRST_TOKEN + number] * settings.input_len,
            "sampling_params": {
                "temperature": 0.0,
                "max_new_tokens": settings.output_len,
                "ignore_eos": True,
            },
            "stream": True,
        }
        seen = False
        try:
            with (
                session() as http,
                http.post(
                    f"{self._base_url}/generate",
                    json=body,
                    stream=True,
                    timeout=(10, settings.trace_timeout_s),
                ) as answer,
            ):
                for _ in _events(answer, settings):
                    if self._ended.is_set():
                        return
                    if not seen:
                        seen = True
                        self._begun.release()
                    if number == 0:
                        self._count()
        except requests.RequestException:
            if not self._ended.is_set():
                raise
        finally:
            if not seen:
                self._begun.release()
            if number == 0:
                self._count(over=True)

    def _count(self, *, over: bool = False) -> None:
        with self._more:
            self._tokens += not over
            self._over = self._over or over
            self._more.notify_all()


def _events(answer: requests.Response, settings: CommKernelsSettings) -> Iterator[bytes]:
    """The lines of a stream that say something, one a token; raises where one says an error."""
    if answer.status_code != requests.codes.ok:
        raise _refused(f"HTTP {answer.status_code}: {answer.text}", settings)
    for line in answer.iter_lines():
        if line.startswith(_ERROR):
            raise _refused(line.decode(errors="replace"), settings)
        if line:
            yield line


def _refused(said: str, settings: CommKernelsSettings) -> requests.HTTPError:
    return requests.HTTPError(
        f"/generate with {settings.input_len} tokens in and {settings.output_len} out (input_len, "
        f"output_len) answered {said[:300]}"
    )


@contextmanager
def decoding(base_url: str, settings: CommKernelsSettings) -> Iterator[Batch]:
    """While all requests of the batch decode together; waits for their ends behind it.

    Raises:
        NoDecode: See :meth:`Batch.send`.
        requests.RequestException: A request failed.
    """
    batch = Batch(base_url, settings)
    with ThreadPoolExecutor(settings.concurrency) as pool:
        try:
            batch.send(pool)
            yield batch
        except BaseException:
            batch.leave()
            raise
        batch.wait()
