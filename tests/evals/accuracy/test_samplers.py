from __future__ import annotations

import socket

import pytest
from sgl_eval.runner import WorkerAborted
from sgl_eval.types import Sample

from evals.accuracy.samplers import GuardedSampler, listens

OK = Sample(text="x", finish_reason="stop")
ERROR = Sample(text="", finish_reason="error")


class _Scripted:
    """Gives samples in turn and notes that it was aborted."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = iter(samples)
        self.aborted = False

    def __call__(self, messages: object, gen: object = None) -> Sample:
        return next(self._samples)

    def abort(self) -> None:
        self.aborted = True


def _guard(samples: list[Sample], *, alive: bool) -> tuple[GuardedSampler, _Scripted, list[str]]:
    inner, told = _Scripted(samples), list[str]()
    return GuardedSampler(inner, alive=lambda: alive, on_give_up=told.append), inner, told


def test_an_error_of_a_living_server_is_only_an_error() -> None:
    guard, inner, told = _guard([ERROR, OK], alive=True)
    assert guard([]) is ERROR
    assert guard([]) is OK
    assert (inner.aborted, told, guard.reason) == (False, [], "")


def test_an_error_of_a_dead_server_stops_every_later_request() -> None:
    guard, inner, told = _guard([ERROR], alive=False)
    for _ in range(2):  # the second does not reach the inner sampler, whose script is over
        with pytest.raises(WorkerAborted):
            guard([])
    assert inner.aborted
    assert told == ["the server no longer accepts connections"]


def test_fifty_errors_in_a_row_are_enough_and_a_success_starts_anew() -> None:
    guard, inner, _ = _guard([ERROR] * 49 + [OK] + [ERROR] * 50, alive=True)
    for _ in range(99):
        guard([])
    assert not inner.aborted
    with pytest.raises(WorkerAborted):
        guard([])
    assert guard.reason == "50 requests in a row failed"


def test_listens_tells_an_open_port_from_a_closed_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert listens(url)
    assert not listens(url)
