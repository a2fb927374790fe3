"""The reduce-scatter plugin: inert when off, loud when wrong, and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from servegate_sglang import reduce_scatter
from servegate_sglang.reduce_scatter import counters as tally_module
from servegate_sglang.reduce_scatter.counters import Tally
from servegate_sglang.reduce_scatter.plugin import prefer
from servegate_sglang.reduce_scatter.switches import FIX, PREFER


def reason(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        reduce_scatter.register()
    return str(stopped.value)


@pytest.mark.parametrize("value", [None, "", "0", "false"])
def test_it_imports_nothing_when_off(value: str | None) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SERVEGATE_")}
    clean |= {} if value is None else dict.fromkeys((PREFER, FIX), value)
    script = (
        "import sys; from servegate_sglang.reduce_scatter import register; register();"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'sglang')"
        " or m.startswith('servegate_sglang.reduce_scatter.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['servegate_sglang.reduce_scatter.switches']"


@pytest.mark.parametrize(
    ("environment", "version", "said"),
    [
        ({PREFER: "yes"}, "0.5.23", "is not understood; use 1 or 0"),
        ({PREFER: "1"}, "0.5.17", "is not written for SGLang 0.5.17"),
        ({FIX: "1"}, "0.5.17", "has nothing to fix in SGLang 0.5.17"),
        ({FIX: "1"}, "main", "'main' is not understood"),
    ],
)
def test_a_switch_that_cannot_be_honoured_stops_the_process(
    environment: dict[str, str], version: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    assert said in reason(environment, monkeypatch)


def test_what_was_asked_and_what_was_changed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally_module, "_rank", lambda: 3)
    hook = prefer(Tally(tmp_path, "0.5.23"))

    def original(batch: str, *, may_reduce_scatter: bool, reduce_scatterv: bool) -> str | None:
        if reduce_scatterv:
            return "v"
        return "equal" if batch == "max" and may_reduce_scatter else None

    def chosen(batch: str, *, may: bool = True, variable: bool = True) -> str | None:
        answer: str | None = hook(original, batch, may_reduce_scatter=may, reduce_scatterv=variable)
        return answer

    assert chosen("max") == "equal"
    assert chosen("sum") == "v"
    assert chosen("max", may=False) == "v"
    assert chosen("sum", variable=False) is None
    document = json.loads((tmp_path / "reduce-scatter-rank3.json").read_text(encoding="utf-8"))
    assert (document["rank"], document["decisions"]) == (3, {"prefer": {"asked": 4, "changed": 1}})


def test_before_ranks_exist_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally_module, "_rank", lambda: None)
    Tally(tmp_path, "0.5.23").count("fix", changed=True)
    assert not list(tmp_path.iterdir())
