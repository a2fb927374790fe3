"""What the kernel tells of a server's schedulers, with small processes in their stead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from launchers.machine.ranks import environments, libraries, scheduler_pids

CHILD = "import sys, time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A child of this process, with a variable of its own."""
    process = subprocess.Popen(
        ["sglang::scheduler_TP0", "-c", CHILD], executable=sys.executable, text=True,
        env={**os.environ, "NCCL_ALGO": "Ring"}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_environment_of_processes_below_the_server(child: subprocess.Popen[str]) -> None:
    found = environments(os.getpid(), [child.pid])
    assert found[child.pid]["NCCL_ALGO"] == "Ring"


def test_a_number_that_is_no_child_or_nobody_is_left_out(child: subprocess.Popen[str]) -> None:
    assert environments(child.pid, [os.getpid(), 2**22 + 1]) == {}


def test_schedulers_are_named_by_the_server_or_known_by_their_title(
    child: subprocess.Popen[str],
) -> None:
    assert scheduler_pids(os.getpid(), {"scheduler_pids": [9, 7, True, "8"]}) == [7, 9]
    assert scheduler_pids(os.getpid(), {}) == [child.pid]
    assert scheduler_pids(child.pid, {}) == []
    assert scheduler_pids(2**22 + 1, {}) == []


def test_communication_libraries_that_a_process_has_mapped() -> None:
    """This one has none; a process that is gone tells nothing."""
    assert libraries(os.getpid()) == {}
    assert libraries(2**22 + 1) == {}
