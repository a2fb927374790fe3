"""Who may import whom: one way, and nothing heavy or of the engine's on the way in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("pipeline", "evals", "launchers")
PLUGINS = "servegate_sglang"
ALLOWED = {
    "pipeline": {*OURS, PLUGINS},
    "evals": {"evals"},
    "launchers": {"launchers", PLUGINS},
    PLUGINS: {PLUGINS},
}

# Run by the engine's interpreter only: loaded by SGLang through entry points, or run as a script.
ENGINE_SIDE = (
    "servegate_sglang/mixed_comm/",
    "servegate_sglang/reduce_scatter/",
    "servegate_sglang/torch_cpu/",
    "launchers/models/",
)
ENGINE_SCRIPTS = ("launchers/machine/flag_check.py", "evals/latency/sglang_runner.py")
# The pure parts of those packages, which the rest may use.
SHARED = {
    "launchers.models",
    "servegate_sglang.mixed_comm.policy",
    "servegate_sglang.mixed_comm.requirements",
    "servegate_sglang.mixed_comm.settings",
    "servegate_sglang.mixed_comm.targets",
    "servegate_sglang.mixed_comm.witness",
    "servegate_sglang.torch_cpu.settings",
}
ENGINE = {"sglang", "torch", "flashinfer", "transformers"}


def modules() -> Iterator[Path]:
    for package in OURS:
        yield from sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name.removeprefix("launchers.plugins.")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module


def engine_side(path: Path) -> bool:
    relative = str(path.relative_to(ROOT)).removeprefix("launchers/plugins/")
    return relative.startswith(ENGINE_SIDE) or relative in ENGINE_SCRIPTS


def test_packages_import_one_way() -> None:
    wrong = {
        name_of(path): sorted(tops & {*OURS, PLUGINS} - ALLOWED[name_of(path).split(".")[0]])
        for path in modules()
        if (tops := {name.split(".")[0] for name in imports(path)})
    }
    assert {name: tops for name, tops in wrong.items() if tops} == {}


def test_only_the_engine_side_imports_the_engine() -> None:
    wrong = {
        name_of(path): name
        for path in modules()
        if not engine_side(path)
        for name in imports(path)
        if name.split(".")[0] in ENGINE
    }
    assert wrong == {}


def test_nobody_imports_the_engine_side() -> None:
    for path in modules():
        mine = str(path.relative_to(ROOT)).removeprefix("launchers/plugins/")
        package = tuple(p for p in ENGINE_SIDE if mine.startswith(p))
        for name in imports(path):
            target = name.replace(".", "/")
            hit = (target + "/").startswith(ENGINE_SIDE) or target + ".py" in ENGINE_SCRIPTS
            if hit and name not in SHARED:
                assert package, f"{mine} imports {name}: only the engine's interpreter may load it"
                assert (target + "/").startswith(package), f"{mine} imports another plugin's {name}"


def test_the_packages_import_without_torch_and_the_engine() -> None:
    script = (
        "import sys, pipeline.cli.app, evals, launchers.server.launch\n"
        f"import {', '.join(sorted(SHARED))}\n"
        f"print(sorted(set(sys.modules) & {ENGINE | {'pandas', 'datasets', 'openai'}!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_pure_modules_touch_neither_network_nor_processes_nor_clock() -> None:
    effects = {"subprocess", "socket", "requests", "time", "os", "threading"}
    pure = ["records/facts", "records/finite"]
    paths = [ROOT / "pipeline" / f"{name}.py" for name in pure]
    for package in ("experiment", "plan", "stats", "power", "gate", "premises"):
        paths += sorted((ROOT / "pipeline" / package).rglob("*.py"))
    assert len(paths) > len(pure)
    for path in paths:
        used = {name.split(".")[0] for name in imports(path)} & effects
        assert not used, f"{name_of(path)} must stay pure, but imports {sorted(used)}"


@pytest.mark.parametrize("plugin", ["mixed_comm", "reduce_scatter"])
def test_the_plugins_need_nothing_else_of_servegate(plugin: str) -> None:
    """Their own distribution beside SGLang is enough to use them."""
    known = sys.stdlib_module_names | {"torch", "sglang", "flashinfer"}
    for path in sorted((ROOT / "launchers" / "plugins" / PLUGINS / plugin).rglob("*.py")):
        for name in imports(path):
            ours = name.startswith(
                ("servegate_sglang.mixed_comm", "servegate_sglang.reduce_scatter")
            )
            assert ours or name.split(".")[0] in known, f"{name_of(path)} imports {name}"
    assert (ROOT / "launchers" / "__init__.py").read_text(encoding="utf-8").count("import") == 0
