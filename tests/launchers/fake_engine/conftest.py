import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from launchers.server.health import SGLANG_HEALTH
from launchers.server.launch import Server, launched

ROOT = Path(__file__).parents[3]

Serve = Callable[..., AbstractContextManager[Server]]


@contextmanager
def fake_server(folder: Path, fake: dict[str, Any], *args: str, **env: str) -> Iterator[Server]:
    number = len(list(folder.glob("server-*.log")))
    with launched(
        argv=[
            *(sys.executable, "-m", "launchers.fake_engine", "--fake", json.dumps(fake)),
            *("--model-path", "org/model", "--served-model-name", "fake"),
            *("--host", "127.0.0.1", "--port", "{port}", *args),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        log=folder / f"server-{number}.log",
        host="127.0.0.1",
        port=None,
        health=SGLANG_HEALTH,
        ready_timeout_s=60,
        stop_timeout_s=20,
        on_state=lambda _: None,
    ) as server:
        yield server


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a fake engine: `serve({"itl_ms": 5}, "--tp-size", "2", MARK="x")`."""
    return partial(fake_server, tmp_path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One without faults for all tests of a module; it knows what n and n is, for n below 40."""
    folder = tmp_path_factory.mktemp("plain")
    questions = folder / "questions.jsonl"
    rows = [{"problem": f"What is {n} and {n}?", "expected_answer": str(2 * n)} for n in range(40)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"ttft_ms": 60, "itl_ms": 20, "answers_file": [str(questions)]}
    with fake_server(folder, told, "--tp-size", "4", "--attn-dp-size", "2", "--x", "1") as server:
        yield server
