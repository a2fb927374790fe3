"""The witness file is there, whole and current without any exit code having run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servegate_sglang.mixed_comm.policy import Operation, Reason
from servegate_sglang.mixed_comm.witness import Witness


class Later:
    """Stands in for threading.Timer: what was to be done, and after how many seconds."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, Callable[[], None]]] = []
        self.daemon = False

    def __call__(self, delay_s: float, function: Callable[[], None]) -> "Later":
        self.asked.append((delay_s, function))
        return self

    def start(self) -> None:
        assert self.daemon, "it would keep a stopped server alive"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    timer = Later()
    monkeypatch.setattr("threading.Timer", timer)
    return timer


def read(folder: Path, rank: int = 2) -> dict[str, Any]:
    document = json.loads((folder / f"witness-rank{rank}.json").read_text())
    assert isinstance(document, dict)
    return document


def gathered(witness: Witness) -> None:
    witness.took(Operation.ALLREDUCE_ALLGATHER, (4, 64), (8, 64), "bfloat16")


def test_is_written_when_made(tmp_path: Path, later: Later) -> None:
    Witness(tmp_path, {"rank": 2, "handler": "reference", "idle_reason": None})
    document = read(tmp_path)
    assert document["schema_version"] == 2
    assert document["handler"] == "reference"
    assert (document["operations"], document["passed_through"]) == ({}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["witness-rank2.json"]


def test_first_call_of_each_kind_is_written_at_once(tmp_path: Path, later: Later) -> None:
    witness = Witness(tmp_path, {"rank": 2})
    for _ in range(4):
        gathered(witness)
    witness.took(Operation.REDUCESCATTER_ALLREDUCE, (8, 64), (4, 64), "bfloat16")
    witness.passed(Reason.DTYPE)
    document = read(tmp_path)
    assert document["operations"] == {"ALLREDUCE_ALLGATHER": 4, "REDUCESCATTER_ALLREDUCE": 1}
    assert document["passed_through"] == {"dtype": 1}
    assert document["first_call"]["REDUCESCATTER_ALLREDUCE"] == {
        "in": [8, 64],
        "out": [4, 64],
        "dtype": "bfloat16",
    }


def test_alternating_calls_are_written_at_powers_of_two(tmp_path: Path, later: Later) -> None:
    witness = Witness(tmp_path, {"rank": 2})
    for _ in range(10):
        gathered(witness)
        witness.took(Operation.REDUCESCATTER_ALLREDUCE, (8, 64), (4, 64), "bfloat16")
    assert sum(read(tmp_path)["operations"].values()) == 16


def test_is_written_two_seconds_after_a_call(tmp_path: Path, later: Later) -> None:
    witness = Witness(tmp_path, {"rank": 2})
    for _ in range(7):
        gathered(witness)
    assert read(tmp_path)["operations"]["ALLREDUCE_ALLGATHER"] == 4
    ((delay_s, write),) = later.asked
    assert delay_s == 2.0
    write()
    assert read(tmp_path)["operations"]["ALLREDUCE_ALLGATHER"] == 7
    gathered(witness)
    gathered(witness)
    assert len(later.asked) == 2


def test_declined_shortcuts_and_compiled_calls_are_counted(tmp_path: Path, later: Later) -> None:
    witness = Witness(tmp_path, {"rank": 2})
    witness.compiled()
    witness.compiled()
    witness.declined_shortcut()
    document = read(tmp_path)
    assert document["shortcuts_declined"] == 1
    assert document["passed_through"] == {"compiling": 2}


def test_counts_without_a_folder(tmp_path: Path) -> None:
    witness = Witness(None, {"rank": 2})
    gathered(witness)
    assert witness.document()["operations"] == {"ALLREDUCE_ALLGATHER": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="witness-rank2"):
        Witness(tmp_path / "gone", {"rank": 2})


def test_a_folder_that_goes_later_does_not_stop_serving(
    tmp_path: Path, later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "launch"
    folder.mkdir()
    witness = Witness(folder, {"rank": 2})
    (folder / "witness-rank2.json").unlink()
    folder.rmdir()
    gathered(witness)
    gathered(witness)
    assert witness.document()["operations"] == {"ALLREDUCE_ALLGATHER": 2}
    assert caplog.text.count("cannot write") == 1
